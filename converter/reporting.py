"""Puts a bundle's label and its report together from what was measured. Wiring."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass, replace
from typing import Final

from converter.adapters import quantizer
from converter.adapters.flatbuffer import operators, parameter_bytes
from converter.bench import Bench
from converter.budget import Budget
from converter.calibration import Calibration, kept, range_warnings, spread
from converter.dataset import Dataset, looks_unscaled
from converter.packing import Label
from converter.recipes import RECIPES, LayerLoss
from converter.report import Form, OperatorUse, Report, Update, report_warnings
from converter.search import Baseline, Entry, front, judge
from converter.source import Converted
from converter.workshop import Base, Tried
from wire import delta
from wire.errors import ModelError
from wire.manifest import Manifest, Preprocessing

_DELEGATE: Final = "XNNPACK"


@dataclass(frozen=True)
class Measured:
    """Everything that a conversion found out; `packed` is the bundle, `wire_bytes` the same as xz."""

    manifest: Manifest
    converted: Converted
    bench: Bench
    data: Dataset | None
    baseline: Baseline
    float32: Tried
    chosen: Tried
    tried: tuple[Tried, ...]
    passed_over: tuple[Entry, ...]
    budget: Budget | None
    base: Base | None
    packed: bytes
    wire_bytes: int
    calibration: Calibration | None
    warnings: tuple[str, ...]


def make_label(
    model: str,
    version: str,
    bench: Bench,
    converted: Converted,
    data: Dataset | None,
) -> Label:
    """Return what the bundle will say of itself, as far as it is known before anything is tried."""
    versions = dict(converted.versions)
    for package in ("litert-quantizer", "edgeflock", "numpy"):
        versions[package] = importlib.metadata.version(package)
    provenance = {"framework": converted.framework, "python": platform.python_version(), **versions}
    if data is not None and data.sha256:
        provenance["data"] = data.sha256
    return Label(
        model=model,
        version=version,
        task=bench.task,
        labels=bench.labels,
        preprocessing=data.preprocessing if data is not None else Preprocessing(),
        columns=data.columns if data is not None else (),
        source_sha256=converted.sha256,
        provenance=provenance,
    )


def make_report(found: Measured) -> Report:
    """Return the report of a conversion; the layers' losses are measured here."""
    chosen = found.chosen
    assert chosen.candidate is not None
    assert chosen.run is not None
    budget = found.budget or Budget()
    margin = found.budget is not None
    verdicts = [judge(one.entry, found.baseline, budget, margin=margin) for one in found.tried]
    made = Report(
        model=found.manifest.model,
        version=found.manifest.version,
        shipped=chosen.candidate.name,
        task=found.bench.task,
        labels=found.bench.labels,
        framework=found.converted.framework,
        forms=_forms(found),
        bundle_bytes=len(found.packed),
        wire_bytes=found.wire_bytes,
        parameter_bytes=parameter_bytes(found.converted.tflite),
        runtimes=found.manifest.runtimes,
        min_runtime=found.manifest.min_runtime,
        choose_count=found.baseline.choose.count,
        count=found.baseline.test.count,
        entries=tuple(one.entry for one in found.tried),
        misses={verdict.entry.variant.name: verdict.misses for verdict in verdicts},
        front=tuple(e.variant.name for e in front([one.entry for one in found.tried], found.baseline)),
        passed_over=tuple(entry.variant.name for entry in found.passed_over),
        budget=found.budget,
        operators=_operators(chosen),
        delegate=_DELEGATE if chosen.run.delegated else "",
        layers=_layers(found),
        update=_update(found),
        provenance=found.manifest.provenance,
        notes=_notes(found),
        warnings=(*found.warnings, *_calibration_warnings(found)),
        choose_source=None if found.bench.choose is found.bench.test else found.baseline.choose,
    )
    unscaled = any(rows.dtype.kind == "f" and looks_unscaled(rows) for rows in found.bench.rows)
    return replace(made, warnings=(*made.warnings, *report_warnings(made, unscaled=unscaled)))


def _forms(found: Measured) -> tuple[Form, ...]:
    source = Form(found.converted.framework, found.converted.size_bytes, found.baseline.test)
    tried = [found.float32] if found.chosen is found.float32 else [found.float32, found.chosen]
    return (source, *(_form(one) for one in tried))


def _form(one: Tried) -> Form:
    assert one.candidate is not None
    assert one.run is not None
    assert one.entry.test is not None
    assert one.entry.cost is not None
    return Form(
        one.candidate.name,
        len(one.candidate.tflite),
        one.entry.test,
        one.entry.cost.wire_bytes,
        one.entry.cost.latency,
        one.run.peak_bytes,
    )


def _operators(chosen: Tried) -> tuple[OperatorUse, ...]:
    assert chosen.candidate is not None
    assert chosen.run is not None
    taken = dict(chosen.run.delegated)
    uses = []
    for used in operators(chosen.candidate.tflite):
        part = min(used.count, taken.get(used.name, 0))
        taken[used.name] = taken.get(used.name, 0) - part
        uses.append(OperatorUse(used.name, used.version, used.count, part))
    return tuple(uses)


def _layers(found: Measured) -> tuple[LayerLoss, ...]:
    """Return where a quantized form loses; of a compressed one the float32 form it came from is gone."""
    variant, candidate = found.chosen.entry.variant, found.chosen.candidate
    assert candidate is not None
    if variant.recipe == "float32" or variant.compression:
        return ()
    samples = tuple(spread(rows, quantizer.CALIBRATION_LIMIT) for rows in found.bench.rows)
    try:
        return quantizer.layer_losses(found.converted.tflite, candidate.tflite, samples)
    except ModelError:  # a view into the model, which is proved already
        return ()


def _update(found: Measured) -> Update | None:
    base, candidate = found.base, found.chosen.candidate
    if base is None or candidate is None:
        return None
    delta_bytes = len(delta.encode(base.file, found.packed))
    same = 0
    if _is_calibrated(found) and not found.chosen.entry.variant.fresh and found.calibration is not None:
        same = len(kept(found.calibration.ranges, base.ranges))
    return Update(base.name, found.wire_bytes, delta_bytes, same)


def _notes(found: Measured) -> tuple[str, ...]:
    calibrated = found.calibration.notes if found.calibration and _is_calibrated(found) else ()
    read = found.data.notes if found.data else ()
    return (*found.converted.notes, *read, *calibrated, *found.chosen.notes)


def _calibration_warnings(found: Measured) -> tuple[str, ...]:
    """Return what is doubtful about the calibration, if the shipped form relies on it."""
    train = found.bench.train
    if train is None or found.calibration is None or not _is_calibrated(found):
        return ()
    samples = tuple(spread(rows, quantizer.CALIBRATION_LIMIT) for rows in train.inputs)
    truth = None if train.truth is None else spread(train.truth, quantizer.CALIBRATION_LIMIT)
    if found.bench.task not in ("classes", "binary"):
        truth = None
    return (*found.calibration.warnings, *range_warnings(samples, found.bench.rows, truth))


def _is_calibrated(found: Measured) -> bool:
    return found.calibration is not None and RECIPES[found.chosen.entry.variant.recipe].calibrates
