"""How an answer is read to be counted: its class, and how sure the model was. Pure, for many at once.

Rules:
- the class is the largest value of the first output; of a single share, whether it reaches one half;
- the confidence is that value, after the activation that the bundle declares; of a single share p, the
  larger of p and 1 - p, since a sure "no" is as sure as a sure "yes";
- an answer that is not finite has no class; a model that gives values, boxes or pictures has none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import Final

import numpy as np

from edge.backend import Array, Tensor
from edge.tensors import OutputReader
from wire.counters import MAX_CLASSES
from wire.manifest import Manifest

_JUDGED: Final = ("classes", "binary", "unlabelled")
_HALF: Final = 0.5


class Scoring:
    """Reads raw first outputs of one model. Make it by `scoring_for`."""

    def __init__(self, tensor: Tensor, *, single: bool, activation: str = "none") -> None:
        self._tensor = tensor
        self._reader = OutputReader(tensor)
        self._single = single
        self._activation = activation
        self.width = int(np.prod(tensor.shape))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return 2 if self._single else self.width

    def read(self, raw: Array) -> tuple[Array, Array]:
        """Return (classes int64 [n], confidences float64 [n]) of raw outputs of n rows; -1 is no class.

        A confidence may lie outside 0 to 1, where the model's values are no shares.
        """
        rows = raw.reshape(-1, self.width)
        if self._single:
            return _read_single(_activated(self._real(rows[:, 0]), self._activation))
        best = rows.argmax(axis=1)  # codes are ordered as their values: scales are positive
        if self._activation == "softmax":
            values = self._real(rows)
            with np.errstate(all="ignore"):
                confidence = 1 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
        else:
            confidence = _activated(self._real(rows[np.arange(len(rows)), best]), self._activation)
        known = np.isfinite(confidence)
        return np.where(known, best, -1), np.where(known, confidence, np.nan)

    def read_one(self, raw: Array) -> tuple[int, float]:
        """Return (class, confidence) of one raw first output: as `read`, in a tenth of its time for one."""
        if self._activation != "none" or raw.size != self.width:
            classes, confidences = self.read(raw)
            return int(classes[0]), float(confidences[0])
        best = 0 if self._single else int(raw.argmax())
        value = float(raw.item(best))
        if self._tensor.quantized:
            value = (value - self._tensor.zero_point) * self._tensor.scale
        if not isfinite(value):
            return -1, nan
        if self._single:
            return int(value >= _HALF), max(value, 1 - value)
        return best, value

    def _real(self, codes: Array) -> Array:
        return self._reader.read(np.ascontiguousarray(codes)).astype(np.float64)


def scoring_for(outputs: Sequence[Tensor], manifest: Manifest | None) -> Scoring | None:
    """Return how the answers of a model are counted; None where they are no classes."""
    task = manifest.task if manifest else "classes"
    how = manifest.postprocessing if manifest else None
    first = outputs[0]
    width = int(np.prod(first.shape))
    flat = first.shape != () and all(size == 1 for size in first.shape[:-1])
    if task not in _JUDGED or (how and how.kind == "boxes") or not flat or not 0 < width <= MAX_CLASSES:
        return None
    if first.dtype.kind not in "iuf" or (width == 1 and task == "unlabelled"):
        return None
    return Scoring(first, single=width == 1, activation=how.activation if how else "none")


def _read_single(share: Array) -> tuple[Array, Array]:
    known = np.isfinite(share)
    yes = share >= _HALF
    return np.where(known, yes, -1).astype(np.int64), np.where(yes, share, 1 - share)


def _activated(values: Array, activation: str) -> Array:
    if activation != "sigmoid":
        return values
    with np.errstate(all="ignore"):
        shares: Array = 1 / (1 + np.exp(-values))
    return shares
