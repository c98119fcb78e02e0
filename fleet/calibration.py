"""Whether a confidence of 0.9 is right nine times of ten, from labelled answers in bins of confidence.

Devices tell the sum of the confidences in each bin. For those that do not (they are of before there was
one) the middle of a bin stands for all in it. That alone can show a gap of half a bin where there is none (a
model that is 0.99 sure of everything and right is counted at 0.95); `at_least` is what no place inside the
bins explains away. Few answers show a gap as well: `by_chance` is what a perfectly calibrated model shows at
this many on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.reliability_sums import added, middles
from fleet.statistics import wilson
from wire.counters import MILLI, RELIABILITY_BINS, Reliability


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers with a confidence from `low` to `high`; `accuracy` is None without any, as is its interval.

    `confidence` is their mean, or the middle of the bin where that is not known. The interval is Wilson's, as
    if answers were independent: a table to look at, not a test.
    """

    low: float
    high: float
    labelled: int
    correct: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    confidence: float


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error and its table. `gap` is confidence less accuracy: too sure above 0.

    `told` is whether the mean confidences are known, of at least a part of the devices.
    """

    error: float
    at_least: float
    by_chance: float
    gap: float
    labelled: int
    bins: tuple[ReliabilityBin, ...]
    told: bool = False


def calibration(parts: Iterable[Reliability]) -> Calibration | None:
    """Return the calibration of all `parts` together, None without a labelled answer.

    Expected calibration error: sum over bins of (n_bin / n) |accuracy - confidence| (Naeini, Cooper,
    Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; Guo, Pleiss,
    Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3).
    """
    sums = added(parts)
    count = sum(sums.labelled)
    if not count:
        return None
    sure = sums.confidence or middles(sums.labelled)
    columns = zip(sums.labelled, sums.correct, sure, strict=True)
    bins = tuple(_bin(i, *column) for i, column in enumerate(columns))
    filled = [b for b in bins if b.labelled]
    return Calibration(
        error=sum(b.labelled * abs(b.confidence - b.correct / b.labelled) for b in filled) / count,
        at_least=sum(b.labelled * _outside(b) for b in filled) / count,
        by_chance=sum(_noise(b) for b in filled) / count,
        gap=sum(b.labelled * b.confidence - b.correct for b in filled) / count,
        labelled=count,
        bins=bins,
        told=bool(sums.confidence),
    )


def _bin(i: int, labelled: int, correct: int, sure_milli: int) -> ReliabilityBin:
    low, high = wilson(correct, labelled) or (None, None)
    return ReliabilityBin(
        i / RELIABILITY_BINS,
        (i + 1) / RELIABILITY_BINS,
        labelled,
        correct,
        correct / labelled if labelled else None,
        low,
        high,
        sure_milli / MILLI / labelled if labelled else (i + 0.5) / RELIABILITY_BINS,
    )


def _outside(of: ReliabilityBin) -> float:
    """How far the accuracy of a bin lies outside of it."""
    accuracy = of.correct / of.labelled
    return max(0.0, of.low - accuracy, accuracy - of.high)


def _noise(of: ReliabilityBin) -> float:
    """n |accuracy - confidence| on average where they are equal: a normal variable's mean absolute value."""
    return math.sqrt(2 / math.pi * of.labelled * of.confidence * max(0.0, 1 - of.confidence))
