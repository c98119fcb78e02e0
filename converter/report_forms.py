"""The comparison of a report: a row for each figure, a column for each form of the model. Pure.

Rules:
- a figure that the task does not have is left out, not filled with dashes;
- ratios are against float32 (the TFLite file, the weights): a Keras file may carry its optimizer's
  state, up to three times the weights, and would flatter every comparison;
- what a device fetches is an update where a previous bundle was given, and is called so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from converter.budget import loss_error_points, loss_points
from converter.evaluation import ClassMarks, ValueMarks
from converter.report import Form, Report, label_of
from converter.table import Table, percent, plain, points, times

_Text = Callable[[Form], str]


@dataclass(frozen=True)
class _Figure:
    """What a row tells, and its text for a form ("": nothing). A detail is not for the terminal."""

    name: str
    text: _Text
    detail: bool = False


def forms_table(report: Report, *, full: bool) -> Table:
    """Return the comparison; `full` has every figure, a terminal gets fewer."""
    figures = (*_sizes(report), *_classes(report), *_VALUES, *_differences(report), *_costs(report))
    rows = [
        (figure.name, *(figure.text(form) for form in report.forms))
        for figure in figures
        if full or not figure.detail
    ]
    header = ("", *(form.name for form in report.forms))
    return Table(f"Forms, on {report.count:,} samples", header, tuple(row for row in rows if any(row[1:])))


def _sizes(report: Report) -> tuple[_Figure, ...]:
    base = report.forms[1].file_bytes

    def of_weights(form: Form) -> str:
        whole = form.wire_bytes if report.update is None else None
        return times(report.parameter_bytes / whole) if whole else ""

    return (
        _Figure("model, bytes", lambda form: f"{form.file_bytes:,}"),
        _Figure(
            "  smaller than float32 TFLite", _changed(report, lambda form: times(base / form.file_bytes))
        ),
        _Figure(
            "on the wire, bytes" if report.update is None else "as an update, bytes",
            lambda form: f"{form.wire_bytes:,}" if form.wire_bytes else "",
        ),
        _Figure("  smaller than float32 weights", of_weights),
    )


def _classes(report: Report) -> tuple[_Figure, ...]:
    def worst(marks: ClassMarks) -> str:
        position = marks.recalls.index(marks.worst_recall)
        return f"{marks.worst_recall:.1%} ({plain(label_of(report.labels, position))})"

    return (
        _Figure("accuracy", _of_classes(lambda marks: percent(marks.accuracy))),
        _Figure("macro recall", _of_classes(lambda marks: percent(marks.macro_recall)), detail=True),
        _Figure("macro precision", _of_classes(lambda marks: percent(marks.macro_precision)), detail=True),
        _Figure("macro F1", _of_classes(lambda marks: percent(marks.macro_f1)), detail=True),
        _Figure("worst class recall", _of_classes(worst)),
        _Figure(
            "calibration error", _of_classes(lambda marks: f"{marks.calibration_error:.3f}"), detail=True
        ),
    )


def _of_classes(text: Callable[[ClassMarks], str]) -> _Text:
    return lambda form: "" if form.evaluation.classes is None else text(form.evaluation.classes)


def _of_values(text: Callable[[ValueMarks], str]) -> _Text:
    return lambda form: "" if form.evaluation.values is None else text(form.evaluation.values)


_VALUES = (
    _Figure("R²", _of_values(lambda marks: f"{marks.r2:.4f}")),
    _Figure("mean absolute error", _of_values(lambda marks: f"{marks.mae:.4g}")),
    _Figure("root mean square error", _of_values(lambda marks: f"{marks.rmse:.4g}")),
)


def _differences(report: Report) -> tuple[_Figure, ...]:
    source = report.forms[0].evaluation

    def lost(form: Form) -> str:
        if source.score is None or form.evaluation.score is None:
            return ""
        return points(loss_points(source, form.evaluation), loss_error_points(form.evaluation))

    changed = _of_classes(lambda marks: f"{marks.newly_wrong}, {marks.newly_right}")
    chance = _of_classes(lambda marks: f"{marks.mcnemar_p:.2g}")
    return (
        _Figure(f"{report.score_name} points lost", _changed(report, lost)),
        _Figure("newly wrong, newly right", _changed(report, changed)),
        _Figure("  McNemar's p", _changed(report, chance), detail=True),
        _Figure("same answer", _changed(report, lambda form: percent(form.evaluation.agreement))),
        _Figure(
            "largest difference",
            _changed(report, lambda form: f"{form.evaluation.largest_difference:.3g}"),
        ),
        _Figure(
            "mean difference",
            _changed(report, lambda form: f"{form.evaluation.mean_difference:.3g}"),
            detail=True,
        ),
    )


def _costs(report: Report) -> tuple[_Figure, ...]:
    base = report.forms[1].latency

    def speed(form: Form) -> str:
        return times(base.median_us / form.latency.median_us) if base and form.latency else ""

    return (
        _Figure(
            "a call here, us: median", lambda form: f"{form.latency.median_us:,.1f}" if form.latency else ""
        ),
        _Figure("  p99", lambda form: f"{form.latency.p99_us:,.1f}" if form.latency else ""),
        _Figure("  as fast as float32 TFLite", speed),
        _Figure(
            "memory for it, MB",
            lambda form: f"{form.peak_bytes / 1e6:,.1f}" if form.peak_bytes else "",
            detail=True,
        ),
    )


def _changed(report: Report, text: _Text) -> _Text:
    """Return `text` for all forms but the source, which is compared with itself there."""
    return lambda form: "" if form is report.forms[0] else text(form)
