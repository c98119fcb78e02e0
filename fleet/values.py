"""How a model of values does in the field: how large its answers are, and by how much they are off. Pure.

Input is one `ModelCounters` for each device. Figures are of the numbers of all devices together; where there
are none to compute one from it is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

from fleet.rollup import Sums
from wire.counters import ModelCounters, Moments


@dataclass(frozen=True)
class ValueFigures:
    """One number of the output of a model of values: the answers, and how far those with a truth were off.
    Errors are answers less their truth: `bias` is their mean."""

    column: int
    answers: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    judged: int
    bias: float | None
    mean_absolute_error: float | None
    root_mean_square_error: float | None


def value_figures(counters: Iterable[ModelCounters]) -> tuple[ValueFigures, ...]:
    """Return the figures of each column that was counted."""
    sums = Sums()
    for one in counters:
        sums.add(one)
    return tuple(
        ValueFigures(
            column=one.column,
            answers=one.answers.count,
            mean=_mean(one.answers.total, one.answers),
            deviation=_deviation(one.answers),
            low=one.answers.low if one.answers.count else None,
            high=one.answers.high if one.answers.count else None,
            judged=one.errors.count,
            bias=_mean(one.errors.total, one.errors),
            mean_absolute_error=_mean(one.off, one.errors),
            root_mean_square_error=_root_mean(one.errors),
        )
        for one in sums.counters("").values
    )


def _mean(total: float, moments: Moments) -> float | None:
    return total / moments.count if moments.count else None


def _root_mean(errors: Moments) -> float | None:
    return sqrt(errors.squares / errors.count) if errors.count else None


def _deviation(moments: Moments) -> float | None:
    if not moments.count:
        return None
    # Where all are alike the difference is rounding, and may be below 0.
    return sqrt(max(0.0, moments.squares / moments.count - (moments.total / moments.count) ** 2))
