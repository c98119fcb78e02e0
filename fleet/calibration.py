"""Whether a confidence of 0.9 is right nine times of ten, from labelled answers in bins of confidence.

Devices count answers, not their confidences, so inside a bin the middle stands for all. That alone can
show a gap of half a bin where there is none (a model that is 0.99 sure of everything and right is counted
at 0.95); `at_least` is what no place inside the bins explains away. Few answers show a gap as well:
`by_chance` is what a perfectly calibrated model shows at this many on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.statistics import wilson
from wire.counters import RELIABILITY_BINS, Reliability


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers with a confidence from `low` to `high`; `accuracy` is None without any, as is its interval.

    The interval is Wilson's, as if answers were independent: a table to look at, not a test.
    """

    low: float
    high: float
    labelled: int
    correct: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error and its table. `gap` is confidence less accuracy: too sure above 0."""

    error: float
    at_least: float
    by_chance: float
    gap: float
    labelled: int
    bins: tuple[ReliabilityBin, ...]


def calibration(parts: Iterable[Reliability]) -> Calibration | None:
    """Return the calibration of all `parts` together, None without a labelled answer.

    Expected calibration error: sum over bins of (n_bin / n) |accuracy - confidence| (Naeini, Cooper,
    Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; Guo, Pleiss,
    Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3).
    """
    labelled, correct = [0] * RELIABILITY_BINS, [0] * RELIABILITY_BINS
    for part in parts:
        for i, (all_, right) in enumerate(zip(part.labelled, part.correct, strict=True)):
            labelled[i] += all_
            correct[i] += right
    count = sum(labelled)
    if not count:
        return None
    bins = tuple(_bin(i, n, right) for i, (n, right) in enumerate(zip(labelled, correct, strict=True)))
    filled = [b for b in bins if b.labelled]
    return Calibration(
        error=sum(b.labelled * abs(_middle(b) - b.correct / b.labelled) for b in filled) / count,
        at_least=sum(b.labelled * _outside(b) for b in filled) / count,
        by_chance=sum(_noise(b) for b in filled) / count,
        gap=sum(b.labelled * _middle(b) - b.correct for b in filled) / count,
        labelled=count,
        bins=bins,
    )


def _bin(i: int, labelled: int, correct: int) -> ReliabilityBin:
    low, high = wilson(correct, labelled) or (None, None)
    return ReliabilityBin(
        i / RELIABILITY_BINS,
        (i + 1) / RELIABILITY_BINS,
        labelled,
        correct,
        correct / labelled if labelled else None,
        low,
        high,
    )


def _middle(of: ReliabilityBin) -> float:
    return (of.low + of.high) / 2


def _outside(of: ReliabilityBin) -> float:
    """How far the accuracy of a bin lies outside of it."""
    accuracy = of.correct / of.labelled
    return max(0.0, of.low - accuracy, accuracy - of.high)


def _noise(of: ReliabilityBin) -> float:
    """n |accuracy - confidence| on average where they are equal: a normal variable's mean absolute value."""
    return math.sqrt(2 / math.pi * of.labelled * _middle(of) * (1 - _middle(of)))
