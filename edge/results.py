"""What the inference loop hands over, and the bounded queue that it never waits for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.runtime import Prediction


@dataclass(frozen=True)
class Sample:
    """One input from a source. `truth` is the index of its class where the source knows it, `value` the
    right number: which of them counts, the model's task decides.

    `token` is by what a source that remembers knows it: two samples may say the same id. Under `tags`, such
    as `light=dark`, its answer is counted apart.
    """

    id: str
    inputs: Any
    truth: int | None = None
    token: int = 0
    tags: tuple[str, ...] = ()
    value: float | None = None


@dataclass(frozen=True)
class Result:
    """One answer with what it was an answer to. `time_s` is Unix time."""

    sample: Sample
    prediction: Prediction
    time_s: float


class ResultQueue:
    """A bounded queue that drops the oldest and counts it: a slow sink costs results, never inferences.

    The lock is held for the time of an append; no holder of it does anything else.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[Result] = deque()
        self._capacity = capacity
        self._lock = threading.Lock()
        self._dropped = 0

    @property
    def dropped(self) -> int:
        return self._dropped

    def put(self, result: Result) -> None:
        with self._lock:
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self._dropped += 1
            self._items.append(result)

    def take_all(self) -> list[Result]:
        """Return what is there, oldest first, and leave the queue empty."""
        with self._lock:
            items, self._items = self._items, deque()
        return list(items)


#: Where results go besides telemetry.
Sink = Callable[[list[Result]], None]
