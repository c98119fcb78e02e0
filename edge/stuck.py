"""Notices an output that stays the same while the inputs change.

After long high load an interpreter has been seen to give one answer for ever, without an error
(tensorflow issue 60563). In a pool the others may still be well, so an output is counted also where
other ones come in between. Equal outputs alone prove nothing: a line of good parts gives one class,
and an int8 softmax few codes. So this only raises a suspicion, and a self-test on the golden set decides.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from edge.results import Result

#: So many different inputs with one output raise the first suspicion; after each that the self-test did
#: not confirm, ten times as many are needed.
FIRST_SUSPICION: Final = 100
_LESS_EASILY: Final = 10
_LAST_SUSPICION: Final = 10_000
_LOOKED_AT: Final = 256
#: Outputs that are followed at a time: those of a model that is well are forgotten soon.
_FOLLOWED: Final = 32


class StuckWatch:
    """Follows the answers of one model after the other."""

    def __init__(self) -> None:
        self._needed = FIRST_SUSPICION
        self._release = ""
        #: By output, the one seen last at the end: the input it was an answer to, and how many others before.
        self._seen: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def confirmed(self) -> None:
        """Forget what was seen: another model answers now, or the same one loaded anew."""
        self._needed = FIRST_SUSPICION
        self._seen.clear()

    def offer(self, result: Result) -> bool:
        """Take note of an answer; return whether it is time for a self-test."""
        prediction = result.prediction
        if prediction.release != self._release:
            self.confirmed()
            self._release = prediction.release
        output, given = _digest(prediction.raw), _digest(_arrays(result.sample.inputs))
        before, changes = self._seen.pop(output, (given, 0))
        changes += given != before
        self._seen[output] = given, changes
        if len(self._seen) > _FOLLOWED:
            self._seen.popitem(last=False)
        if changes < self._needed:
            return False
        self._seen.clear()
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
