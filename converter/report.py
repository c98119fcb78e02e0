"""What a conversion is measured to cost and to bring: rows for people, JSON for programs. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from converter.evaluation import Evaluation, Latency, largest_recall_drop

_ACCURACY_WARNING: Final = 0.01
_RECALL_WARNING: Final = 0.05
_NEAR_CHANCE: Final = 1.5
_UNSCALED: Final = 2.0


@dataclass(frozen=True)
class Row:
    """One form of the model. `latency` is None where it was not measured."""

    name: str
    size_bytes: int
    evaluation: Evaluation
    latency: Latency | None = None


@dataclass(frozen=True)
class Report:
    """The forms of one model, the original first, float32 second."""

    model: str
    version: str
    recipe: str
    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    runtimes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


TABLE_HEADER: Final = (
    "model", "bytes", "ratio", "accuracy", "worst recall", "agreement", "newly wrong", "newly right",
    "median us", "p99 us",
)  # fmt: skip


def table(report: Report) -> list[tuple[str, ...]]:
    """Return a row of text for each form of the model, under TABLE_HEADER.

    `ratio` is against float32 TFLite: a Keras file may carry its optimizer's state, up to three
    times the weights, and would flatter every comparison.
    """
    base = report.rows[1].size_bytes
    rows: list[tuple[str, ...]] = []
    for position, row in enumerate(report.rows):
        score, latency = row.evaluation, row.latency
        changed = (f"{score.agreement:.1%}", str(score.newly_wrong), str(score.newly_right))
        rows.append(
            (
                row.name,
                f"{row.size_bytes:,}",
                f"{base / row.size_bytes:.1f}x" if position else "-",
                f"{score.accuracy:.1%}",
                f"{score.worst_recall:.1%}",
                *(changed if position else ("-", "-", "-")),
                f"{latency.median_us:.1f}" if latency else "-",
                f"{latency.p99_us:.1f}" if latency else "-",
            )
        )
    return rows


def recall_table(report: Report) -> list[tuple[str, ...]]:
    """Return a row for each class: its label and each form's recall."""
    columns = [row.evaluation.recalls for row in report.rows]
    return [
        (label_of(report.labels, position), *("-" if r is None else f"{r:.1%}" for r in recalls))
        for position, recalls in enumerate(zip(*columns, strict=True))
    ]


def to_json(report: Report) -> bytes:
    """Return the whole report as JSON that a person can read."""
    return (json.dumps(asdict(report), indent=2, allow_nan=False) + "\n").encode()


def label_of(labels: tuple[str, ...], position: int) -> str:
    """Return the name of a class, or its number when it has none."""
    return labels[position] if position < len(labels) else str(position)


def loss_warnings(before: Row, after: Row, labels: tuple[str, ...]) -> list[str]:
    """Return a line for each loss from `before` to `after` that is worth a second look."""
    warnings = []
    advice = "" if after.name == "float32" else ": try --recipe float32"
    lost = before.evaluation.accuracy - after.evaluation.accuracy
    if lost > _ACCURACY_WARNING:
        warnings.append(f"{after.name} costs {lost * 100:.1f} points of accuracy{advice}")
    worst = largest_recall_drop(before.evaluation, after.evaluation)
    if worst.drop > _RECALL_WARNING:
        warnings.append(
            f"{after.name} costs class {label_of(labels, worst.position)!r} {worst.drop * 100:.1f} points "
            f"of recall{advice}"
        )
    return warnings


def chance_warning(original: Row, largest_input: float) -> str | None:
    """Return a line when the original itself guesses on this data, or None."""
    accuracy, classes = original.evaluation.accuracy, len(original.evaluation.recalls)
    if accuracy > _NEAR_CHANCE / classes:
        return None
    hint = (
        f"its values reach {largest_input:.0f}: was the model trained on 0..1?"
        if largest_input > _UNSCALED
        else "is it scaled and ordered as in training?"
    )
    return f"the original is right on only {accuracy:.1%} of x_test, near chance; {hint}"
