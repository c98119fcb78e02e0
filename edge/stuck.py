"""Notices an output that stays the same while the inputs change.

After long high load an interpreter has been seen to give one answer for ever, without an error
(tensorflow issue 60563). Equal outputs alone prove nothing: a line of good parts gives one class, and
an int8 softmax one code. So this only raises a suspicion, and a self-test on the golden set decides.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from edge.results import Result

#: So many different inputs in a row with one output raise the first suspicion; after each that the
#: self-test did not confirm, ten times as many are needed.
FIRST_SUSPICION: Final = 100
_LESS_EASILY: Final = 10
_LAST_SUSPICION: Final = 10_000
_LOOKED_AT: Final = 256


class StuckWatch:
    """Follows the answers of one model after the other."""

    def __init__(self) -> None:
        self._needed = FIRST_SUSPICION
        self._release = ""
        self._output = -1
        self._last_input = -1
        self._changes = 0

    def confirmed(self) -> None:
        """Forget what was seen: the suspicion was right, and the model is loaded anew."""
        self._needed = FIRST_SUSPICION
        self._changes = 0

    def offer(self, result: Result) -> bool:
        """Take note of an answer; return whether it is time for a self-test."""
        prediction = result.prediction
        output = _digest(prediction.raw)
        given = _digest(_arrays(result.sample.inputs))
        if prediction.release != self._release:
            self._needed = FIRST_SUSPICION
        if (prediction.release, output) != (self._release, self._output):
            self._changes = 0
        elif given != self._last_input:
            self._changes += 1
        self._release, self._output, self._last_input = prediction.release, output, given
        if self._changes < self._needed:
            return False
        self._changes = 0
        self._needed = min(self._needed * _LESS_EASILY, _LAST_SUSPICION)
        return True


def _arrays(inputs: Any) -> list[Any]:
    if isinstance(inputs, Mapping):
        return list(inputs.values())
    if isinstance(inputs, (list, tuple)) and any(isinstance(each, np.ndarray) for each in inputs):
        return list(inputs)  # by position
    return [inputs]


def _digest(arrays: Any) -> int:
    """Return a checksum of some hundred elements of each array: images are large, and change all over."""
    digest = 0
    for array in map(np.asarray, arrays):
        flat = array.ravel()
        digest = zlib.crc32(flat[:: max(1, flat.size // _LOOKED_AT)].tobytes(), digest)
    return digest
