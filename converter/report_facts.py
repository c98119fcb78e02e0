"""What a report says in a line each: its most important figures, and what is no table. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from converter.budget import Budget, loss_error_points, loss_points
from converter.report import Report
from converter.table import percent, plain, points, times
from wire.delta import pays


@dataclass(frozen=True)
class Highlight:
    """One of the figures that matter most, and what it is to be compared with."""

    name: str
    value: str
    compared: str


def highlights(report: Report) -> tuple[Highlight, ...]:
    """Return size, score, worst class and speed of what is shipped, as far as there are any."""
    source, shipped = report.forms[0].evaluation, report.forms[-1].evaluation
    ratio = times(report.parameter_bytes / report.wire_bytes)
    found = [Highlight("on the wire", f"{report.wire_bytes:,} bytes", f"float32 weights are {ratio} that")]
    if source.score is not None and shipped.score is not None:
        lost = f"{points(loss_points(source, shipped), loss_error_points(shipped))} points lost"
        if shipped.values is not None:
            found.append(Highlight("R²", f"{shipped.values.r2:.4f}", lost))
        else:
            found.append(Highlight(report.score_name, percent(shipped.score), lost))
    if shipped.classes is not None:
        marks = shipped.classes
        changed = f"{marks.newly_wrong:,} answers newly wrong, {marks.newly_right:,} newly right"
        found.append(Highlight("worst class", percent(marks.worst_recall), changed))
    base, mine = report.forms[1].latency, report.forms[-1].latency
    if base is not None and mine is not None:
        speed = f"{times(base.median_us / mine.median_us)} as fast as float32 TFLite"
        found.append(Highlight("a call here", f"{mine.median_us:,.1f} us", speed))
    return tuple(found)


def facts(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what takes one line each: its name and its text."""
    found = [
        ("Bundle", f"{report.bundle_bytes:,} bytes on disk, {report.wire_bytes:,} as a device fetches it"),
        ("Golden outputs reproduced on", ", ".join(report.runtimes)),
        ("Needs TensorFlow Lite", report.min_runtime),
        ("Delegate", delegate_line(report)),
        ("Update", update_line(report)),
        ("Budget", budget_line(report.budget) if report.budget else ""),
        ("Chosen on", f"{report.choose_count:,} other samples" if report.choose_source else ""),
        ("Passed over", ", ".join(report.passed_over)),
    ]
    return tuple((name, plain(text)) for name, text in found if text)


def delegate_line(report: Report) -> str:
    """Return how many operators the delegate runs, and which it leaves to the interpreter's own kernels."""
    if not report.delegate:
        return ""
    taken, count = sum(use.delegated for use in report.operators), sum(use.count for use in report.operators)
    left = [
        f"{use.count - use.delegated} {use.name}" for use in report.operators if use.delegated < use.count
    ]
    line = f"{report.delegate} runs {taken} of {count} operators"
    return f"{line}, not {', '.join(left)}" if left else line


def update_line(report: Report) -> str:
    """Return what a device that holds the previous bundle fetches, or nothing without one."""
    update = report.update
    if update is None:
        return ""
    kept = f"; {update.kept_ranges} activation ranges kept" if update.kept_ranges else ""
    if not pays(update.delta_bytes, update.full_bytes):
        return f"from {update.base} all {update.full_bytes:,} bytes, the difference is not much smaller{kept}"
    less = times(update.full_bytes / max(1, update.delta_bytes))
    return (
        f"from {update.base} {update.delta_bytes:,} bytes instead of {update.full_bytes:,}, {less} less{kept}"
    )


def budget_line(budget: Budget) -> str:
    """Return the limits of a budget in words."""
    parts = [
        f"{budget.loss_points:g} points of score",
        f"{budget.class_points:g} points of any class's recall",
    ]
    if budget.file_bytes is not None:
        parts.append(f"{budget.file_bytes:,} bytes on disk")
    if budget.wire_bytes is not None:
        parts.append(f"{budget.wire_bytes:,} bytes on the wire")
    if budget.latency_us is not None:
        parts.append(f"{budget.latency_us:,.0f} us a call")
    if budget.board_factor != 1.0:
        parts.append(f"on a board that takes {budget.board_factor:g} times as long as this machine")
    return ", ".join(parts)
