"""Reports of conversions as they look in life: real evaluations of answers that were made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converter.budget import Budget, Cost
from converter.evaluation import Evaluation, Latency, evaluate
from converter.recipes import LayerLoss
from converter.report import Form, OperatorUse, Report, Update
from converter.search import Entry, Variant
from tests.support.marks import marks

SAMPLES = 200
LABELS = ("zero", "one", "two", "three")


def classified(lost: int = 0, *, classes: int = 4) -> Evaluation:
    """Return the marks of a classifier that lost so many answers of class 1; its source is right on all."""
    return marks({1: lost}, classes=classes, each=SAMPLES // classes)


def regressed(off: float = 0.0) -> Evaluation:
    """Return the marks of a regression whose answers are `off` more than the original's."""
    truth = np.linspace(0.0, 9.0, SAMPLES, dtype=np.float32)[:, np.newaxis]
    reference = truth + np.float32(0.1)
    return evaluate(reference + np.float32(off), reference, truth, "values")


def entry(
    recipe: str, wire_bytes: int, lost: int, median_us: float, compression: str = "", *, apart: bool = False
) -> Entry:
    """Return an entry that was measured; `apart`: the choosing split lost one answer less."""
    tested = classified(lost)
    chosen = classified(max(0, lost - 1)) if apart else tested
    cost = Cost(wire_bytes + 4000, wire_bytes, Latency(median_us, 2 * median_us))
    return Entry(Variant(recipe, compression), chosen, tested, cost)


def form(name: str, file_bytes: int, found: Evaluation, wire_bytes: int, median_us: float) -> Form:
    """Return a form of TFLite."""
    return Form(name, file_bytes, found, wire_bytes, Latency(median_us, 2 * median_us), 4_100_000)


#: Four classes, int8 shipped, one answer of class "one" lost; nothing searched.
CLASSES = Report(
    model="digits",
    version="2",
    shipped="int8",
    task="classes",
    labels=LABELS,
    framework="Keras",
    forms=(
        Form("Keras", 300_000, classified()),
        form("float32", 100_000, classified(), 90_000, 20.0),
        form("int8", 25_000, classified(1), 20_000, 10.0),
    ),
    bundle_bytes=27_500,
    wire_bytes=20_000,
    parameter_bytes=96_000,
    runtimes=("ai-edge-litert 2.3.0",),
    min_runtime="2.3.0",
    choose_count=SAMPLES,
    count=SAMPLES,
    operators=(OperatorUse("CONV_2D", 3, 2, 2), OperatorUse("RESHAPE", 1, 1, 0)),
    delegate="XNNPACK",
    layers=(LayerLoss("conv2d/Conv2D", "CONV_2D", 0.08), LayerLoss("dense/MatMul", "FULLY_CONNECTED", 0.02)),
    provenance={"keras": "3.15.1", "data": "ab" * 32},
    notes=("x_test is halved",),
)

#: A search with a budget: one entry outside, one that did not hold, one that could not be made.
SEARCHED = replace(
    CLASSES,
    shipped="int8 prune80+4bit",
    forms=(*CLASSES.forms[:2], form("int8 prune80+4bit", 25_000, classified(1), 8_000, 10.0)),
    wire_bytes=8_000,
    choose_source=classified(),
    entries=(
        entry("float32", 90_000, 0, 20.0, apart=True),
        entry("int8", 20_000, 1, 10.0, apart=True),
        entry("weight-int8", 20_100, 0, 24.0, apart=True),
        entry("int8", 8_000, 1, 10.0, "prune80+4bit", apart=True),
        entry("int8", 6_000, 2, 10.0, "prune90+4bit", apart=True),
        entry("int8", 4_000, 6, 10.0, "prune95+4bit", apart=True),
        Entry(Variant("int16"), error="quantizing to int16: no such kernel"),
    ),
    misses={"int8 prune95+4bit": ("loses 3.0 points, 1.0 allowed", "class 1 loses 12.0 points of recall")},
    passed_over=("int8 prune90+4bit",),
    front=("int8 prune95+4bit", "int8 prune90+4bit", "int8 prune80+4bit", "weight-int8"),
    budget=Budget(loss_points=1.0, wire_bytes=30_000, board_factor=8.0),
    update=Update("digits-1.bundle", 8_000, 2_000, 14),
)

REGRESSION = replace(
    CLASSES,
    task="values",
    labels=(),
    forms=(
        Form("Keras", 300_000, regressed()),
        form("float32", 100_000, regressed(), 90_000, 20.0),
        form("int8", 25_000, regressed(0.05), 20_000, 10.0),
    ),
)
