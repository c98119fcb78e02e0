"""How the first output of a model is a class and a confidence: for who counts answers at either end. Pure.

Rules:
- the class is the largest value; of a single share, whether it reaches one half;
- the confidence is that value, after the activation that the bundle declares; of a single share p, the
  larger of p and 1 - p, since a sure "no" is as sure as a sure "yes";
- an answer that is not finite has no class (-1); a model of values, boxes or pictures has none at all.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wire.counters import MAX_CLASSES, MAX_VALUES
from wire.manifest import Postprocessing

Array = npt.NDArray[Any]

#: Tasks whose answers are classes, and so are right or wrong.
CLASS_TASKS: Final = ("classes", "binary", "unlabelled")
_HALF: Final = 0.5

#: A dequantized share may be a code past 1.
_SLACK: Final = 0.01


def scores_width(task: str, how: Postprocessing, shape: tuple[int, ...]) -> int | None:
    """Return how many scores a first output of `shape` (with its batch of 1) has; None for no classes."""
    width = prod(shape)
    flat = shape != () and all(size == 1 for size in shape[:-1])
    if task not in CLASS_TASKS or how.kind == "boxes" or not flat or not 0 < width <= MAX_CLASSES:
        return None
    return None if width == 1 and task == "unlabelled" else width


def values_width(task: str, how: Postprocessing, shape: tuple[int, ...]) -> int | None:
    """Return how many values a first output of `shape` (with its batch of 1) has; None where they are none
    that could be counted apart."""
    width = prod(shape)
    flat = shape != () and all(size == 1 for size in shape[:-1])
    return width if task == "values" and how.kind != "boxes" and flat and 0 < width <= MAX_VALUES else None


def read_scores(values: Array, activation: str) -> tuple[Array, Array]:
    """Return (classes int64 [n], confidences float64 [n]) of real values [n, width]; else -1 and NaN."""
    if values.shape[1] == 1:
        share = activated(values[:, 0], activation)
        known, yes = np.isfinite(share), share >= _HALF
        return np.where(known, yes, -1).astype(np.int64), np.where(yes, share, 1 - share)
    best = values.argmax(axis=1)
    if activation == "softmax":
        with np.errstate(all="ignore"):
            confidence = 1 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
    else:
        confidence = activated(values[np.arange(len(values)), best], activation)
    known = np.isfinite(confidence)
    return np.where(known, best, -1), np.where(known, confidence, np.nan)


def activated(values: Array, activation: str) -> Array:
    """Return single values after a sigmoid, or as they are."""
    if activation != "sigmoid":
        return values
    with np.errstate(all="ignore"):
        shares: Array = 1 / (1 + np.exp(-values))
    return shares


def are_shares(confidences: Array) -> bool:
    """Tell whether all these finite confidences may be shares: one that is not tells of logits."""
    return not len(confidences) or bool(confidences.min() >= -_SLACK and confidences.max() <= 1 + _SLACK)


def in_bins(shares: Array, bins: int) -> Array:
    """Return the bin of each share, int64 [n]; 1 is in the last one, as in wire/counters.py."""
    found: Array = np.clip((shares * bins).astype(np.int64), 0, bins - 1)
    return found
