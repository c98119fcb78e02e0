"""Ctrl-C and SIGTERM as a number to look at between two pieces of work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """`signal` is the number of the one that came, 0 before."""

    signal: int = 0


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Note a first signal for the time of the block; a second one ends the process at once.

    The handler assigns and does nothing else: it runs on the main thread, in the middle of anything.
    """
    noted = Interruption()

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # as signals call
        noted.signal = number
        for one in _ENDING:
            signal.signal(one, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in _ENDING}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
