"""Precision, recall and F1 of each class and their macro means, from confusion matrices by device.

All are ratios of sums over the merged matrix: recall = tp / truths, precision = tp / predictions,
F1 = 2 tp / (truths + predictions). So each has the interval of fleet/estimating.py.

Rules:
- the bounds of F1 are those of tp / (tp + fp + fn), which is a share of answers, carried over by
  F1 = 2 j / (1 + j) (Lam, Gopal, Qian, "Confidence intervals for the F1 score", arXiv 2309.14621:
  Wilson indirect);
- a macro mean is over the classes that occur among the truths; where one of them was never the answer its
  precision counts as 0, as scikit-learn has it. What a device changes in it is the mean of what it changes
  in each class (delta method: Takahashi, Yamamoto, Kuchiba, Koyama, "Confidence interval for micro-averaged
  F1 and macro-averaged F1 scores", Applied Intelligence 52 (2022), with devices in place of samples);
- a class of which only one device has answers says nothing about how devices differ: it counts as
  independent there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fleet.estimating import Estimate, Floats, Spread, bounded, influence, share, variance
from wire.counters import Cells

#: The stride of a (device, class) pair's number; wire/counters.py has fewer classes.
_STRIDE: Final = 1 << 14


@dataclass(frozen=True)
class ClassFigures:
    """One class: its right answers, how often it was true and how often the answer, and three shares."""

    number: int
    correct: int
    truths: int
    predictions: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None


@dataclass(frozen=True)
class Macro:
    """Means over the classes that occur among the truths; None without any."""

    precision: Estimate | None = None
    recall: Estimate | None = None
    f1: Estimate | None = None


@dataclass(frozen=True)
class _Counts:
    """True positives, truths and predictions of pairs of a device and a class, ordered by class."""

    devices: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    correct: Floats
    truths: Floats
    predictions: Floats

    def of(self, number: int) -> _Counts:
        start, end = np.searchsorted(self.classes, (number, number + 1))
        cut = slice(start, end)
        return _Counts(self.devices[cut], self.classes[cut], self.correct[cut], self.truths[cut],
                       self.predictions[cut])  # fmt: skip


def merged(matrices: Sequence[Cells]) -> Cells:
    """Return the sum of confusion matrices, ordered by truth and prediction."""
    _, truths, predicted, counts = _columns(matrices)
    keys, places = np.unique(truths * _STRIDE + predicted, return_inverse=True)
    sums = np.bincount(places, weights=counts, minlength=len(keys))
    kept = sums > 0
    cells = [(int(key) // _STRIDE, int(key) % _STRIDE) for key in keys[kept]]
    return Cells(
        tuple(truth for truth, _ in cells),
        tuple(answer for _, answer in cells),
        tuple(int(count) for count in sums[kept]),
    )


def per_class(matrices: Sequence[Cells]) -> tuple[tuple[ClassFigures, ...], Macro]:
    """Return the figures of each class that occurs and their means; `matrices` has one for each device."""
    counts = _count(matrices)
    figures = tuple(_figures(int(number), counts.of(int(number))) for number in np.unique(counts.classes))
    return figures, _macro(counts, len(matrices))


def _columns(matrices: Sequence[Cells]) -> tuple[npt.NDArray[np.int64], ...]:
    lengths = [len(matrix.counts) for matrix in matrices]
    return (
        np.repeat(np.arange(len(matrices), dtype=np.int64), lengths),
        np.fromiter((n for m in matrices for n in m.truth), np.int64),
        np.fromiter((n for m in matrices for n in m.predicted), np.int64),
        np.fromiter((n for m in matrices for n in m.counts), np.int64),
    )


def _count(matrices: Sequence[Cells]) -> _Counts:
    devices, truths, predicted, counts = _columns(matrices)
    width = max(1, len(matrices))
    keys, places = np.unique(
        np.concatenate([truths * width + devices, predicted * width + devices]), return_inverse=True
    )
    of_truth, of_answer = places[: len(counts)], places[len(counts) :]

    def add_up(where: npt.NDArray[np.int64], added: npt.NDArray[np.int64]) -> Floats:
        return np.bincount(where, weights=added, minlength=len(keys)).astype(np.float64)

    return _Counts(
        keys % width,
        keys // width,
        add_up(of_truth, np.where(truths == predicted, counts, 0)),
        add_up(of_truth, counts),
        add_up(of_answer, counts),
    )


def _figures(number: int, counts: _Counts) -> ClassFigures:
    correct, truths, predictions = counts.correct, counts.truths, counts.predictions
    return ClassFigures(
        number,
        int(correct.sum()),
        int(truths.sum()),
        int(predictions.sum()),
        share(correct, predictions),
        share(correct, truths),
        _f1(share(correct, truths + predictions - correct)),
    )


def _f1(overlap: Estimate | None) -> Estimate | None:
    if overlap is None:
        return None
    value, low, high = (2 * j / (1 + j) for j in (overlap.value, overlap.low, overlap.high))
    return Estimate(value, low, high, overlap.method, overlap.answers, overlap.devices, overlap.design_effect)


def _macro(counts: _Counts, devices: int) -> Macro:
    groups = [group for number in np.unique(counts.classes) if (group := counts.of(int(number))).truths.any()]
    labelled = np.zeros(devices)
    for group in groups:
        labelled[group.devices] += group.truths
    return Macro(
        precision=_mean(groups, [g.correct for g in groups], [g.predictions for g in groups], labelled),
        recall=_mean(groups, [g.correct for g in groups], [g.truths for g in groups], labelled),
        f1=_mean(
            groups, [2 * g.correct for g in groups], [g.truths + g.predictions for g in groups], labelled
        ),
    )


def _mean(
    groups: Sequence[_Counts], parts: Sequence[Floats], wholes: Sequence[Floats], labelled: Floats
) -> Estimate | None:
    """Return the mean of the shares `parts / wholes` of the classes; `labelled` is by device."""
    if not groups:
        return None
    moved = np.zeros(len(labelled))
    value = independent = inverse = 0.0
    for group, part, whole in zip(groups, parts, wholes, strict=True):
        count = float(whole.sum())
        if count:
            of_class = float(part.sum()) / count
            value += of_class
            independent += of_class * (1 - of_class) / count
            moved[group.devices] += influence(part, whole)
        inverse += 1 / (count or float(group.truths.sum()))
    classes = len(groups)
    spread = Spread(independent / classes**2, variance(moved[labelled > 0] / classes))
    return bounded(
        value / classes, spread, float(labelled.sum()), int((labelled > 0).sum()), worth=classes**2 / inverse
    )
