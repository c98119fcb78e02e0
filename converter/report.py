"""What a conversion is measured to cost and to bring: rows for people, JSON for programs. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

from converter.budget import Budget, loss_points
from converter.evaluation import Evaluation, Latency, largest_recall_drop
from converter.recipes import LayerLoss
from converter.search import Entry
from converter.task import Task

#: Without a budget, a loss that the default one would refuse is worth a warning.
_DEFAULT: Final = Budget()
#: From chance (0) to perfect (1), an original below this guesses: data of a wrong scale scored .05 and .14.
_GUESSING: Final = 0.15
#: Of 200 samples, the calibration error moves by .02 from one draw to the next.
_CALIBRATION_WARNING: Final = 0.05

_SCORES: Final[Mapping[Task, str]] = {
    "classes": "accuracy",
    "binary": "accuracy",
    "values": "fit",
    "unlabelled": "agreement",
}


@dataclass(frozen=True)
class Form:
    """One form of the model on the report's split: the source, float32 TFLite, or the one that is shipped.

    `file_bytes` is the model alone. `wire_bytes` is what a device fetches, xz of the whole bundle, and
    None for the source. `peak_bytes` is by how much loading and running it raised a process' memory.
    """

    name: str
    file_bytes: int
    evaluation: Evaluation
    wire_bytes: int | None = None
    latency: Latency | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class OperatorUse:
    """One kind of operator in the shipped model; `delegated` counts those that a delegate runs."""

    name: str
    version: int
    count: int
    delegated: int = 0


@dataclass(frozen=True)
class Update:
    """What a device that holds the bundle `base` has to fetch: the difference, or all when that is less."""

    base: str
    full_bytes: int
    delta_bytes: int
    kept_ranges: int


@dataclass(frozen=True)
class Report:
    """One conversion. `forms`: the source first, float32 second, the shipped one last (perhaps the same).

    `entries` are the forms that were tried, in order, with the `misses` of each by name: the limits
    that it breaks; `front` are the names on the Pareto front, `passed_over` those that held on the
    choosing split and not on the report's. `choose_count` samples chose, `count` report.
    `parameter_bytes` are the source's weights as float32, the base of the compression ratio.
    `choose_source` is the source on the choosing split, where that is another than the report's.
    """

    model: str
    version: str
    shipped: str
    task: Task
    labels: tuple[str, ...]
    framework: str
    forms: tuple[Form, ...]
    bundle_bytes: int
    wire_bytes: int
    parameter_bytes: int
    runtimes: tuple[str, ...]
    min_runtime: str
    choose_count: int
    count: int
    entries: tuple[Entry, ...] = ()
    misses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    front: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    budget: Budget | None = None
    operators: tuple[OperatorUse, ...] = ()
    delegate: str = ""
    layers: tuple[LayerLoss, ...] = ()
    update: Update | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    choose_source: Evaluation | None = None

    @property
    def score_name(self) -> str:
        """What the score is called: accuracy, fit or agreement."""
        return _SCORES[self.task]

    @property
    def point_meaning(self) -> str:
        """What one point of the score is, for a person."""
        if self.task == "values":
            return "a hundredth of the target's standard deviation, of root mean square error"
        return f"a hundredth of {self.score_name}"


def label_of(labels: tuple[str, ...], position: int) -> str:
    """Return the name of a class, or its number when it has none."""
    return labels[position] if position < len(labels) else str(position)


def to_json(report: Report) -> bytes:
    """Return the whole report as JSON that a person can read: every field, in the order of its class.

    JSON has no NaN and no infinity; both become null.
    """
    return (json.dumps(as_json(report), indent=2, allow_nan=False) + "\n").encode()


def as_json(value: Any) -> Any:
    """Return dataclasses, mappings and sequences as what `json` takes."""
    if is_dataclass(value):
        return {part.name: as_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(held) for key, held in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(held) for held in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def report_warnings(report: Report, *, unscaled: bool = False) -> tuple[str, ...]:
    """Return a line for each figure that is worth a second look.

    `unscaled` tells that the inputs look like bytes (`dataset.looks_unscaled`).
    """
    source, shipped = report.forms[0], report.forms[-1]
    found = [
        guess_warning(source, unscaled=unscaled),
        _loss_warning(report, source, shipped),
        _class_warning(report, source, shipped),
        _calibration_warning(source, shipped),
    ]
    return tuple(line for line in found if line)


def guess_warning(source: Form, *, unscaled: bool) -> str:
    """Return a line when the original itself guesses on this data, else nothing.

    The recall's mean over classes is what tells: a constant answer gets 1 / classes there, however
    uneven the classes are, and less than nothing in R².
    """
    hint = (
        "the inputs go up to 255: was the model trained on 0..1?"
        if unscaled
        else "are they scaled and ordered as in training?"
    )
    marks, values = source.evaluation.classes, source.evaluation.values
    if values is not None and values.r2 < 0:
        return f"the original is worse than a constant on the test data (R² {values.r2:.2f}); {hint}"
    if marks is None:
        return ""
    chance = 1 / sum(1 for recall in marks.recalls if recall is not None)
    if chance == 1 or marks.macro_recall > chance + _GUESSING * (1 - chance):
        return ""
    return f"the original is right on only {marks.accuracy:.1%} of the test data, near chance; {hint}"


def _loss_warning(report: Report, source: Form, shipped: Form) -> str:
    lost = loss_points(source.evaluation, shipped.evaluation)
    if lost <= (report.budget or _DEFAULT).loss_points + 1e-9:
        return ""
    chance = ""
    marks = shipped.evaluation.classes
    if marks is not None and marks.mcnemar_p > 0.05:
        chance = f", which may be chance (p = {marks.mcnemar_p:.2f})"
    return f"{shipped.name} costs {lost:.1f} points of {report.score_name}{chance}{_advice(shipped)}"


def _class_warning(report: Report, source: Form, shipped: Form) -> str:
    before, after = source.evaluation.classes, shipped.evaluation.classes
    if before is None or after is None:
        return ""
    worst = largest_recall_drop(before, after)
    allowed = max((report.budget or _DEFAULT).class_points, 100 / max(1, worst.members))
    if worst.drop * 100 <= allowed + 1e-9:
        return ""
    label = label_of(report.labels, worst.position)
    return (
        f"{shipped.name} costs class {label!r} {worst.drop * 100:.1f} points of recall "
        f"({worst.members} samples){_advice(shipped)}"
    )


def _calibration_warning(source: Form, shipped: Form) -> str:
    before, after = source.evaluation.classes, shipped.evaluation.classes
    if before is None or after is None:
        return ""
    if after.calibration_error - before.calibration_error <= _CALIBRATION_WARNING:
        return ""
    return (
        f"confidences of {shipped.name} are off by {after.calibration_error:.2f} on average, the original's "
        f"by {before.calibration_error:.2f}: set thresholds anew"
    )


def _advice(shipped: Form) -> str:
    """Return what to try instead; nothing keeps more than float32."""
    if shipped.name == "float32":
        return ""
    recipe, _, compression = shipped.name.partition(" ")
    if compression:
        return ": try a milder compression"
    return ": try --recipe float32" if recipe in ("float16", "weight-int8") else ": try --recipe weight-int8"
