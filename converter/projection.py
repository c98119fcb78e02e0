"""What weights must become: which of them are kept, and the grid or clusters of their values. Pure numpy.

Rules:
- int8 weights have one scale for each output channel, so values are simplified channel by channel;
- a grid of b bits has 2^b - 1 values, symmetric around zero and evenly spaced, as far as int8 can say
  so. The largest weight of a channel stands on the last one: int8, whose scale is that weight / 127,
  keeps all of them exactly, and has the same codes in all channels;
- clusters are magnitudes as shares of a channel's largest weight, common to the whole kernel;
- channels have one of few scales, a quarter of an octave apart: in a net that is mostly zeros the
  scales of its channels are a sixth of what travels;
- what is zero stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from converter.compression import Compression

Array = npt.NDArray[Any]

#: The share of the training in which weights are taken away; in the rest the others settle.
RAMP: Final = 0.5

_INT8: Final = 127
_SCALES_PER_OCTAVE: Final = 4
_KMEANS_ROUNDS: Final = 20
_LEAST: Final = 1e-12
_ROUNDING: Final = 1e-4


@dataclass(frozen=True)
class Kernel:
    """The weights of one layer. `channels` is the axis of their output channels, None for one scale in all.

    One that is not `simplified` (a depthwise or a small kernel: little to gain, much to lose) is rounded
    to 8 bits only.
    """

    weights: Array
    channels: int | None
    simplified: bool


@dataclass(frozen=True)
class Target:
    """What one kernel is to become.

    Weights up to the magnitude `threshold` become zero; the others one of `levels` values above and
    below it, or of those that `shares` [k] lists, rising.
    """

    channels: int | None
    levels: int = _INT8
    coarse_scales: bool = False
    threshold: float = 0.0
    shares: Array | None = None


def sparsity_at(done: float, sparsity: float) -> float:
    """Return the share of zeros when the share `done` of the training is over: many first, then fewer.

    After Zhu and Gupta, "To prune, or not to prune" (2017).
    """
    return sparsity * (1 - (1 - min(1.0, done / RAMP)) ** 3)


def targets(kernels: Sequence[Kernel], compression: Compression, sparsity: float) -> list[Target]:
    """Return what `kernels` are to become while the share `sparsity` of their weights is to be zero."""
    thresholds = iter(_thresholds([kernel.weights for kernel in kernels if kernel.simplified], sparsity))
    return [
        _target(kernel, compression, next(thresholds)) if kernel.simplified else Target(kernel.channels)
        for kernel in kernels
    ]


def project(weights: Array, target: Target) -> Array:
    """Return float32 `weights` as `target` wants them."""
    kept = _kept(weights, target.threshold)
    largest = _largest(kept, target.channels, coarse=target.coarse_scales)
    if target.shares is None:
        steps = np.clip(np.rint(kept * (target.levels / largest)), -target.levels, target.levels)
        on_grid: Array = np.rint(steps * np.float32(_INT8 / target.levels)) * (largest / _INT8)
        return on_grid.astype(np.float32, copy=False)
    limits = (target.shares[1:] + target.shares[:-1]) / 2
    found = target.shares[np.searchsorted(limits, np.abs(kept) / largest)]
    clustered: Array = np.sign(kept) * found * largest
    return clustered.astype(np.float32, copy=False)


def _target(kernel: Kernel, compression: Compression, threshold: float) -> Target:
    target = Target(kernel.channels, 2 ** (compression.bits - 1) - 1, True, threshold)
    if not compression.clusters:
        return target
    kept = _kept(kernel.weights, threshold)
    shares = np.abs(kept) / _largest(kept, kernel.channels, coarse=True)
    return replace(target, shares=_centres(np.minimum(shares[kept != 0], 1), compression.clusters // 2))


def _kept(weights: Array, threshold: float) -> Array:
    return np.where(np.abs(weights) > threshold, weights, 0) if threshold else weights


def _thresholds(kernels: Sequence[Array], sparsity: float) -> list[float]:
    """Return below which magnitude the weights of each kernel go, so that of all the share `sparsity` goes.

    A weight counts by its square over the sum of the squares in its kernel that are not smaller: the
    layers share the zeros by what they bear, and none loses all (Lee et al., "Layer-adaptive sparsity
    for the magnitude-based pruning", 2021). At 95 % it costs a point less than the same share for each.
    """
    if not sparsity or not kernels:
        return [0.0] * len(kernels)
    rising = [np.sort(np.abs(kernel).ravel()) for kernel in kernels]
    scores = [_scores(magnitudes) for magnitudes in rising]
    limit = np.quantile(np.concatenate(scores), sparsity)
    return [
        # Below the largest, however many weights are as large: a layer of zeros would answer nothing.
        min(
            float(magnitudes[max(0, np.searchsorted(score, limit, side="right") - 1)]),
            float(np.nextafter(magnitudes[-1], np.float32(0))),
        )
        for magnitudes, score in zip(rising, scores, strict=True)
    ]


def _scores(rising: Array) -> Array:
    squares = np.square(rising, dtype=np.float64)
    sums = np.cumsum(squares[::-1])[::-1]
    scores: Array = squares / np.maximum(sums, _LEAST**2)
    return scores


def _largest(weights: Array, channels: int | None, *, coarse: bool) -> Array:
    """Return the largest magnitude of each channel, or the next lower of few values."""
    kept = None if channels is None else channels % weights.ndim
    others = tuple(axis for axis in range(weights.ndim) if axis != kept)
    largest = np.maximum(np.abs(weights).max(axis=others, keepdims=True), _LEAST)
    if coarse:
        largest = np.exp2(np.floor(np.log2(largest) * _SCALES_PER_OCTAVE + _ROUNDING) / _SCALES_PER_OCTAVE)
    result: Array = largest.astype(np.float32)
    return result


def _centres(shares: Array, count: int) -> Array:
    """Return at most `count` centres of `shares` (0 to 1) by k-means, rising, in 127ths; the last is 1."""
    rising = np.sort(shares.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(rising)])
    # Evenly spaced at first: the few large weights matter most (Han et al., "Deep Compression", 2015).
    centres = (np.arange(count) + 0.5) / count
    for _ in range(_KMEANS_ROUNDS):
        inner = np.searchsorted(rising, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], inner, [len(rising)]])
        members = np.diff(edges)
        centres = np.where(members > 0, np.diff(sums[edges]) / np.maximum(members, 1), centres)
    codes = np.unique(np.rint(centres[:-1] * _INT8))
    return np.append(codes[codes > 0], _INT8).astype(np.float32) / _INT8
