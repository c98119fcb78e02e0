"""When a sample is done: every sink has its answer where a kill cannot take it.

A source that remembers what was answered (a watched folder) is told then, and no earlier: a kill in
between has it answered once more, never not at all. An answer that any sink lost is not settled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Settlement:
    """Counts, for each sample by its number, the sinks that still owe it. Any thread may call."""

    def __init__(self, sinks: int, settle: Callable[[int], None]) -> None:
        self._sinks = sinks
        self._settle = settle
        self._lock = threading.Lock()
        self._open: dict[int, tuple[int, int]] = {}
        self._next = 0

    def begin(self, token: int) -> int:
        """Note a sample whose answer goes to the sinks now; return its number."""
        with self._lock:
            self._next += 1
            number = self._next
            if self._sinks:
                self._open[number] = (token, self._sinks)
        if not self._sinks:
            self._settle(token)
        return number

    def outcome(self, number: int, safe: bool) -> None:
        """One sink has made the answer safe, or lost it."""
        with self._lock:
            token, owing = self._open.pop(number, (0, 0))
            if not safe or owing == 0:
                return
            if owing > 1:
                self._open[number] = (token, owing - 1)
                return
        self._settle(token)
