"""Time as an argument: a clock that tests can turn, and one deadline instead of timeouts handed around."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

#: A monotonic clock in seconds.
Clock = Callable[[], float]


@dataclass(frozen=True)
class Deadline:
    """A moment on a monotonic clock."""

    at_s: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        return cls(clock() + seconds, clock)

    @property
    def passed(self) -> bool:
        return self.clock() >= self.at_s

    @property
    def left_s(self) -> float:
        return max(0.0, self.at_s - self.clock())


def wait_until(condition: Callable[[], bool], deadline: Deadline, *, every_s: float = 0.02) -> bool:
    """Poll `condition` until it holds or `deadline` passes; return whether it held."""
    while not condition():
        if deadline.passed:
            return condition()
        time.sleep(min(every_s, deadline.left_s))
    return True
