"""What a search tried, as the table and the picture of it both need it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converter.budget import loss_error_points, loss_points
from converter.evaluation import Evaluation, RecallDrop, largest_recall_drop
from converter.report import Report
from converter.search import Entry


@dataclass(frozen=True)
class Tried:
    """One form that was measured. Losses are points of the score against the source.

    `lost_points` is on the report's split, with the standard error of a paired loss; `chosen_points`
    on the choosing split, None where that is the same one. `verdict` is a word for what became of it,
    `broken` the sentences why it is not inside the budget.
    """

    name: str
    file_bytes: int
    wire_bytes: int
    latency_us: float
    lost_points: float
    error_points: float
    chosen_points: float | None
    worst_class: RecallDrop | None
    on_front: bool
    shipped: bool
    broken: tuple[str, ...]

    @property
    def inside(self) -> bool:
        return not self.broken

    @property
    def verdict(self) -> str:
        """Whether it is the one, might have been, or breaks a limit."""
        if self.shipped:
            return "shipped" if self.inside else "shipped, outside"
        return "inside" if self.inside else "outside"


def tried(report: Report) -> tuple[Tried, ...]:
    """Return the entries that could be made and measured, in the order in which they were tried."""
    lines = (_tried(report, entry) for entry in report.entries)
    return tuple(line for line in lines if line is not None)


def failed(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the name and the reason of each entry that could not be made or measured."""
    return tuple(
        (entry.variant.name, entry.error or "was not measured")
        for entry in report.entries
        if entry.cost is None or entry.test is None
    )


def _tried(report: Report, entry: Entry) -> Tried | None:
    if entry.cost is None or entry.test is None:
        return None
    name, source = entry.variant.name, report.forms[0].evaluation
    return Tried(
        name=name,
        file_bytes=entry.cost.file_bytes,
        wire_bytes=entry.cost.wire_bytes,
        latency_us=entry.cost.latency.median_us,
        lost_points=loss_points(source, entry.test),
        error_points=loss_error_points(entry.test),
        chosen_points=_chosen_points(report, entry),
        worst_class=_worst_class(source, entry.test),
        on_front=name in report.front,
        shipped=name == report.shipped,
        broken=_broken(report, name),
    )


def _chosen_points(report: Report, entry: Entry) -> float | None:
    if report.choose_source is None or entry.choose is None or _one_split(report.entries):
        return None
    return loss_points(report.choose_source, entry.choose)


def _one_split(entries: Sequence[Entry]) -> bool:
    return all(entry.choose == entry.test for entry in entries)


def _worst_class(source: Evaluation, candidate: Evaluation) -> RecallDrop | None:
    if source.classes is None or candidate.classes is None:
        return None
    return largest_recall_drop(source.classes, candidate.classes)


def _broken(report: Report, name: str) -> tuple[str, ...]:
    broken = report.misses.get(name, ())
    if name in report.passed_over and not broken:
        return ("held where it was chosen, and not on the report's samples",)
    return broken
