"""Whether a call may run on the event loop, by what the loaded model was measured to need. Pure.

A hop to another thread and back costs 50 to 100 us, many times what a small model needs; a call on the
loop holds up every other connection while it runs. So calls that are expected to take less than
`INLINE_NS` run at once, longer ones elsewhere; a model that was not measured yet, elsewhere.
"""

from __future__ import annotations

from typing import Final

#: 2 ms: what other connections may have to wait.
INLINE_NS: Final = 2_000_000

#: Weight of the newest call in the mean: one slow call out of a fast row moves nothing.
_NEWEST: Final = 1 / 16


class Pace:
    """The mean time of one row of one model. Another model starts anew."""

    def __init__(self) -> None:
        self._model: object = None
        self._mean_ns = 0.0

    def is_short(self, model: object, rows: int) -> bool:
        """Tell whether `rows` rows of `model` are expected to take less than INLINE_NS."""
        return model is self._model and self._mean_ns * rows <= INLINE_NS

    def observe(self, model: object, latency_ns: int, rows: int) -> None:
        """Take in what a call of `rows` rows took inside the model."""
        each_ns = latency_ns / rows
        if model is not self._model:
            self._model, self._mean_ns = model, each_ns
        else:
            self._mean_ns += (each_ns - self._mean_ns) * _NEWEST
