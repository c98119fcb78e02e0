"""The tables of a report, but for the comparison of its forms. Pure.

A column that has nothing to say for the task or the request is left out.
"""

from __future__ import annotations

from typing import Final

from converter.evaluation import ClassMarks, RecallDrop
from converter.report import Report, label_of
from converter.report_entries import failed, tried
from converter.table import Table, percent, plain, points, signed, without_empty

#: More classes than this are cut to their worst on a terminal.
_MANY: Final = 20
_WORST: Final = 10
_LAYERS: Final = 30

_Shares = tuple[float | None, ...]


def classes_table(report: Report) -> Table | None:
    """Return every class: its samples; recall, precision and F1 of each form. None without classes."""
    marks = _class_marks(report)
    if not marks:
        return None
    names = _columns(marks)
    kinds = [[m.recalls for m in marks], [m.precisions for m in marks], [m.f1s for m in marks]]
    groups = (("", 2), ("recall", len(names)), ("precision", len(names)), ("F1", len(names)))
    rows = tuple(
        (*_class(report, marks, position), *(cell for shares in kinds for cell in _cells(shares, position)))
        for position in range(len(marks[0].members))
    )
    return Table("Classes", ("class", "samples", *names * 3), rows, groups)


def recall_table(report: Report) -> Table | None:
    """Return the recall of each class, or of those that lost most where there are many. None without."""
    marks = _class_marks(report)
    if not marks:
        return None
    title, positions = "Recall by class", list(range(len(marks[0].members)))
    if len(positions) > _MANY:
        title = f"Recall by class, the {_WORST} of {len(positions)} that lost most"
        changes = [_change(*shares) for shares in zip(marks[0].recalls, marks[-1].recalls, strict=True)]
        known = [p for p in positions if changes[p] is not None]
        positions = sorted(known, key=lambda p: changes[p] or 0.0)[:_WORST]
    recalls = [mark.recalls for mark in marks]
    rows = tuple((*_class(report, marks, p), *_cells(recalls, p)) for p in positions)
    return Table(title, ("class", "samples", *_columns(marks)), rows)


def entries_table(report: Report, *, full: bool = True) -> Table | None:
    """Return what was tried, in order, and what became of each. None when nothing was.

    A terminal (not `full`) gets the losses on the report's split alone.
    """
    factor = report.budget.board_factor if report.budget else 1.0
    header = (
        "form", "wire bytes", "points lost", "where chosen", "worst class", "us a call", "on the board",
        "front", "budget",
    )  # fmt: skip
    lines = tried(report)
    rows: list[tuple[str, ...]] = [
        (
            line.name,
            f"{line.wire_bytes:,}",
            points(line.lost_points, line.error_points),
            "" if line.chosen_points is None or not full else points(line.chosen_points),
            _drop(report, line.worst_class),
            f"{line.latency_us:,.1f}",
            f"{line.latency_us * factor:,.0f}" if factor != 1.0 else "",
            "yes" if line.on_front else "",
            line.verdict,
        )
        for line in lines
    ]
    rows += [(name, *[""] * (len(header) - 2), "not made") for name, _ in failed(report)]
    if not rows:
        return None
    names, *kept = without_empty(header, rows)
    marked = frozenset(position for position, line in enumerate(lines) if line.shipped)
    return Table("Forms that were tried", names, tuple(kept), marked=marked)


def entry_reasons(report: Report) -> tuple[str, ...]:
    """Return a line for each entry that is outside the budget or could not be made: its name and why."""
    outside = [(line.name, "; ".join(line.broken)) for line in tried(report) if not line.inside]
    return tuple(plain(f"{name}: {why}") for name, why in (*outside, *failed(report)))


def layers_table(report: Report) -> Table | None:
    """Return the layers that lose most, worst first, so many as a page has room for. None if not compared."""
    shown = report.layers[:_LAYERS]
    if not shown:
        return None
    more = f", the worst {_LAYERS} of {len(report.layers)}" if len(report.layers) > _LAYERS else ""
    largest = max(layer.error for layer in shown) or 1.0
    return Table(
        f"Layers by what they lose{more}",
        ("layer", "operator", "error"),
        tuple((plain(layer.name), layer.operator, percent(layer.error)) for layer in shown),
        texts=frozenset({1}),
        bars=tuple(layer.error / largest for layer in shown),
    )


def operators_table(report: Report) -> Table | None:
    """Return the operators of the shipped model, and how many of each the delegate runs. None if unknown."""
    if not report.operators:
        return None
    header = ("operator", "version", "count", *((f"on {report.delegate}",) if report.delegate else ()))
    rows = tuple(
        (use.name, str(use.version), str(use.count), str(use.delegated))[: len(header)]
        for use in report.operators
    )
    return Table("Operators of the shipped model", header, rows)


def _class_marks(report: Report) -> list[ClassMarks]:
    """Return the class marks of every form, or none at all."""
    found = [form.evaluation.classes for form in report.forms]
    known = [marks for marks in found if marks is not None]
    return known if len(known) == len(found) else []


def _columns(marks: list[ClassMarks]) -> tuple[str, ...]:
    """Return short names for the forms: those of the recipes would be wider than all figures."""
    return (*("original", "float32", "shipped")[: len(marks)], "change")


def _class(report: Report, marks: list[ClassMarks], position: int) -> tuple[str, str]:
    return plain(label_of(report.labels, position)), f"{marks[0].members[position]:,}"


def _cells(shares: list[_Shares], position: int) -> tuple[str, ...]:
    """Return the share of each form, and by how many points the last differs from the first."""
    found = [form[position] for form in shares]
    change = _change(found[0], found[-1])
    return (*(percent(share) for share in found), "" if change is None else signed(change))


def _change(before: float | None, after: float | None) -> float | None:
    """Return the points between two shares; None for a class without samples."""
    return None if before is None or after is None else (after - before) * 100


def _drop(report: Report, worst: RecallDrop | None) -> str:
    if worst is None:
        return ""
    if worst.drop <= 0:
        return signed(-worst.drop * 100)
    return f"{signed(-worst.drop * 100)} ({plain(label_of(report.labels, worst.position))})"
