"""How the raw answers of one model are read to be counted, by the rules of wire/scores.py. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import Final

import numpy as np

from edge.backend import Array, Tensor
from edge.tensors import OutputReader
from wire.manifest import Manifest, Postprocessing
from wire.scores import activated, read_scores, scores_width

_HALF: Final = 0.5


class Scoring:
    """Reads raw first outputs of one model. Make it by `scoring_for`."""

    def __init__(self, tensor: Tensor, width: int, activation: str) -> None:
        self._tensor = tensor
        self._reader = OutputReader(tensor)
        self._single = width == 1
        self._activation = activation
        self.width = width

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return 2 if self._single else self.width

    def read(self, raw: Array) -> tuple[Array, Array]:
        """Return (classes int64 [n], confidences float64 [n]) of raw outputs of n rows.

        A confidence may lie outside 0 to 1, where the model's values are no shares.
        """
        rows = raw.reshape(-1, self.width)
        if self._single or self._activation == "softmax":
            return read_scores(self._real(rows), self._activation)
        best = rows.argmax(axis=1)  # codes are ordered as their values: only the best has to become real
        confidence = activated(self._real(rows[np.arange(len(rows)), best]), self._activation)
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
    task, how = (manifest.task, manifest.postprocessing) if manifest else ("classes", Postprocessing())
    width = scores_width(task, how, outputs[0].shape)
    if width is None or outputs[0].dtype.kind not in "iuf":
        return None
    return Scoring(outputs[0], width, how.activation)
