"""Calibration: which samples, whether they were enough, and what their ranges become. Pure numpy.

Ranges are TRUE minima and maxima. The quantizer's own default, a moving average, clips: it made
an error of .96 of one of .04 on a small net.

How much is enough is told by growth: by how much the spans of the tensors widen when the samples go
from a random half to all of them (the mean over the tensors, and over several halves). Measured with
static int8, as growth and as answers equal to float32's on all test rows, in %, means of six draws:

    samples                    4            8            16           32           100
    CNN, digits            3.9  100.0   4.2  100.0   4.9  100.0   2.6   99.9   2.2   99.9
    depthwise CNN, MNIST   6.0   99.6   3.7   99.5   2.1   99.5   1.3   99.4   0.8   99.5
    attention, digits     10.4   96.8  11.1   97.4   6.3   98.3   5.1   98.3   3.6   98.5
    LayerNorm MLP, noise  20.4   91.7  20.4   94.0  16.9   95.7  13.0   97.7

So below 5 % they are enough, and above 10 % answers are being lost. Fewer than 8 tell too little. What
is worse than few samples are wrong ones: images of 0..255 where 0..1 was meant took 98 to 22 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from converter.recipes import Ranges

Array = npt.NDArray[Any]

#: Mean growth of the spans from half of the samples to all: below, they are enough; above, too few.
_ENOUGH: Final = 0.05
_TOO_MUCH: Final = 0.10
_TOO_FEW: Final = 8
#: More than this is not asked for.
_PLENTY: Final = 100
#: Orders over which growth is averaged: one alone is off by a factor of two.
ORDERS: Final = 8

#: Codes of 8 bits: 256. A scale below this overflows the limits of a RELU6, 6 / scale, in 32 bits.
_LEAST_SCALE: Final = 3e-9

#: A range of a previous model is kept where it holds the new values, up to this part of it on each side,
_BEYOND: Final = 0.1
#: and where they fill at least this part of it.
_FILLED: Final = 0.25

#: Values outside the calibrated range by more than this part of it, and how many of them are many.
_OUTSIDE: Final = 0.05
_MANY_OUTSIDE: Final = 0.01
_OTHER_SCALE: Final = 20.0
#: Distance of two distributions. Measured between samples and test rows of one set: at most .14 (seven
#: sets); between uniform noise of the same range and test rows .28 to .89, but for iris, .17.
_OTHER_VALUES: Final = 0.25
_ROWS_TO_COMPARE: Final = 30
_VALUES_TO_COMPARE: Final = 50_000
#: A column with fewer codes than this is lost; one in four of a table's columns is too much.
_LEAST_CODES: Final = 4
_LOST_COLUMNS: Final = 0.25


@dataclass(frozen=True)
class Series:
    """What each sample did: the smallest and largest value of each tensor, float64 [samples, tensors]."""

    names: tuple[str, ...]
    lowest: Array
    highest: Array


@dataclass(frozen=True)
class Calibration:
    """What was found out: the ranges, from how many samples, and by how much they grew in the second half.

    `growth` is a share, 0.02 for 2 %. `notes` are for everybody, `warnings` say what to do.
    """

    ranges: Ranges
    samples: int
    growth: float
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def spread(rows: Array, limit: int) -> Array:
    """Return at most `limit` of `rows`, evenly spread: sorted data keeps all of its classes."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]


def calibrated(series: Series, orders: Sequence[Array]) -> Calibration:
    """Return the ranges over all samples, and judge by random `orders` of them whether they were enough."""
    lowest, highest = series.lowest.min(axis=0), series.highest.max(axis=0)
    ranges = {
        name: (float(low), float(high))
        for name, low, high in zip(series.names, lowest, highest, strict=True)
        if np.isfinite(low) and np.isfinite(high)
    }
    count = len(series.lowest)
    if count < _TOO_FEW:
        line = f"only {count} calibration samples tell too little of the ranges: give 30 or more"
        return Calibration(ranges, count, 1.0, warnings=(line,))
    growth = float(np.mean([_growth(series, order) for order in orders]))
    line = f"{count} calibration samples: ranges grew by {100 * growth:.1f} % in the second half"
    if growth > _TOO_MUCH and count < _PLENTY:
        return Calibration(ranges, count, growth, warnings=(f"{line}: give more",))
    verdict = "enough" if growth <= _ENOUGH else "values beyond them will be clipped"
    return Calibration(ranges, count, growth, (f"{line}: {verdict}",))


def _growth(series: Series, order: Array) -> float:
    half = order[: len(order) // 2]
    before = _spans(series.lowest[half].min(axis=0), series.highest[half].max(axis=0))
    after = _spans(series.lowest.min(axis=0), series.highest.max(axis=0))
    known = np.isfinite(after) & (after > 0)
    with np.errstate(divide="ignore"):
        grown = after[known] / before[known] - 1
    return float(np.minimum(grown, 1.0).mean()) if known.any() else 0.0


def _spans(lowest: Array, highest: Array) -> Array:
    spans: Array = np.maximum(highest, 0.0) - np.minimum(lowest, 0.0)
    return spans


def kept(fresh: Ranges, base: Ranges) -> frozenset[str]:
    """Return the tensors whose range of a previous model still fits."""
    return frozenset(name for name in fresh.keys() & base.keys() if _fits(fresh[name], base[name]))


def merged(fresh: Ranges, base: Ranges) -> Ranges:
    """Return `fresh` with the ranges of a previous model where they still fit.

    A kept range keeps the bytes of a scale, and of all that is computed from it: updates get smaller.
    """
    same = kept(fresh, base)
    return {name: base[name] if name in same else limits for name, limits in fresh.items()}


def _fits(fresh: tuple[float, float], base: tuple[float, float]) -> bool:
    span = base[1] - base[0]
    low, high = min(fresh[0], 0.0), max(fresh[1], 0.0)
    inside = low >= base[0] - _BEYOND * span and high <= base[1] + _BEYOND * span
    return inside and high - low >= _FILLED * span


def coded(limits: tuple[float, float], dtype: str) -> tuple[float, float]:
    """Return the range that codes of int8 or int16 really cover when they are to cover `limits`.

    0 is always a code. The range of a range so covered is itself, to the last bit: models that are
    calibrated with the ranges of another's codes have its scales.
    """
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if dtype == "int16":
        return code_limits(_scale(max(-low, high) / 32767), 0, dtype)
    scale = _scale((high - low) / 255)
    return code_limits(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)), dtype)


def code_limits(scale: float, zero_point: int, dtype: str) -> tuple[float, float]:
    """Return the values of the lowest and the highest code of a tensor; 16 bits are used symmetrically."""
    if dtype == "int16":
        return -32767 * scale, 32767 * scale
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def _scale(exact: float) -> float:
    return float(np.float32(max(exact, _LEAST_SCALE)))


def range_warnings(
    calibration: Sequence[Array], evaluated: Sequence[Array], truth: Array | None = None
) -> tuple[str, ...]:
    """Return what is suspicious about calibration samples, a line each, by comparing them with other rows.

    Both have an array [n, ...] for each input. `truth` are the classes of the calibration samples.
    """
    found = []
    for number, (mine, other) in enumerate(zip(calibration, evaluated, strict=True)):
        name = f"input {number + 1}" if len(calibration) > 1 else "the input"
        if line := _range_warning(mine, other):
            found.append(f"{name}: {line}")
    if truth is not None and truth.ndim == 1 and len(truth) >= _TOO_FEW and len(np.unique(truth)) == 1:
        found.append("the calibration samples are all of one class")
    return tuple(found)


def _range_warning(mine: Array, other: Array) -> str:
    low, high = float(mine.min()), float(mine.max())
    span, others = high - low, float(other.max()) - float(other.min())
    both = f"{low:.4g} to {high:.4g} in calibration, {other.min():.4g} to {other.max():.4g} in the test data"
    if len(mine) > 1 and not np.ptp(mine, axis=0).any():
        return "all calibration samples are the same"
    if max(span, others) > _OTHER_SCALE * min(span, others):
        return f"{both}: one of them is not prepared as in training"
    outside = np.maximum(low - other, other - high) > _OUTSIDE * span
    if mine.dtype.kind == "f" and outside.mean() > _MANY_OUTSIDE:
        share = f"{100 * outside.mean():.0f} %"
        return f"{share} of the test values are outside the calibrated range and clipped ({both})"
    if min(len(mine), len(other)) >= _ROWS_TO_COMPARE and _distance(mine, other) > _OTHER_VALUES:
        return f"calibration samples are distributed otherwise than test data ({both}): are they real?"
    return ""


def _distance(one: Array, other: Array) -> float:
    """Return the largest difference of the two distributions of values (Kolmogorov-Smirnov)."""
    first = np.sort(one.ravel()[:: 1 + one.size // _VALUES_TO_COMPARE])
    second = np.sort(other.ravel()[:: 1 + other.size // _VALUES_TO_COMPARE])
    every = np.concatenate([first, second])
    below = [np.searchsorted(values, every, side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def column_warning(rows: Array) -> str:
    """Return a warning about a table [n, columns] whose columns are too different for one scale, or ""."""
    if rows.ndim != 2 or rows.dtype.kind != "f":
        return ""
    spans = np.ptp(rows, axis=0)
    whole = max(float(rows.max()), 0.0) - min(float(rows.min()), 0.0)
    lost = (spans > 0) & (spans * 256 < _LEAST_CODES * whole)
    if lost.sum() <= _LOST_COLUMNS * (spans > 0).sum():
        return ""
    return (
        f"{lost.sum()} of {rows.shape[1]} columns have fewer than {_LEAST_CODES} of 256 codes as int8, for "
        f"another one goes up to {np.abs(rows).max():.4g}: put a Normalization layer in front, "
        "or use weight-int8"
    )
