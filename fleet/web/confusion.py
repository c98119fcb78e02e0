"""Which classes are taken for which: a matrix of those that occur most, by name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.class_names import ClassNames, cleaned
from fleet.web import wording
from wire.counters import Cells

#: Characters of a class in a heading; the whole name is in its title.
SHORT: Final = 14

#: Classes that a matrix shows; of more the per-class table must do.
_MATRIX_CLASSES: Final = 20
_HEATS: Final = 9


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix; `heat` is its share of its row, 0 to 9."""

    count: str
    share: str
    heat: int
    right: bool


@dataclass(frozen=True)
class ClassText:
    """A class by its name, or by its number where it has none; `note` is the number beside a name."""

    text: str
    short: str
    note: str

    @classmethod
    def of(cls, number: int, names: ClassNames) -> ClassText:
        text = names.name(number) or str(number)
        return cls(text, cleaned(text, SHORT), "" if text == str(number) else str(number))


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: a row for each true class, a column for each answer."""

    classes: Sequence[ClassText]
    rows: Sequence[tuple[ClassText, Sequence[Cell]]]
    left_out: int = 0


def confusion_matrix(cells: Cells, names: ClassNames) -> Matrix | None:
    """Return the matrix of the classes that occur most; None where nothing is labelled."""
    counts = dict(zip(zip(cells.truth, cells.predicted, strict=True), cells.counts, strict=True))
    if not counts:
        return None
    weight: dict[int, int] = {}
    for (truth, predicted), count in counts.items():
        weight[truth] = weight.get(truth, 0) + count
        weight[predicted] = weight.get(predicted, 0) + count
    kept = sorted(sorted(weight, key=lambda c: -weight[c])[:_MATRIX_CLASSES])
    members = dict.fromkeys(kept, 0)
    for (truth, _), count in counts.items():
        if truth in members:
            members[truth] += count
    texts = [ClassText.of(number, names) for number in kept]
    rows = [
        (text, [_cell(counts.get((t, p), 0), members[t], right=t == p) for p in kept])
        for t, text in zip(kept, texts, strict=True)
    ]
    return Matrix(texts, rows, len(weight) - len(kept))


def _cell(count: int, members: int, *, right: bool) -> Cell:
    part = count / max(1, members)
    heat = 0 if not count else max(1, round(part * _HEATS))
    return Cell(wording.count(count) if count else "", wording.percent(part), heat, right)
