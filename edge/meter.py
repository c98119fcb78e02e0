"""Counts the calls of one release and how long each took, at the price of one list append a call.

Latencies wait in a list, whose `append` is atomic, until somebody folds them into the histogram:
the thread that asks for a report, or, now and then, the one that calls.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from edge.backend import Array
from wire.histogram import BUCKETS, PER_LOG

#: So many latencies wait at most: folding 4096 of them takes about 100 us, 25 ns for each.
LIMIT: Final = 4096


class Meter:
    """Calls, failures and the latency histogram of one release since boot.

    `pending` is public for the inference path, which appends nanoseconds to it and calls `fold`
    when it is longer than `LIMIT`.
    """

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.errors = 0
        self.labelled = 0
        self.correct = 0
        self._counts = np.zeros(BUCKETS, np.int64)
        self._lock = threading.Lock()

    def add(self, latency_ns: int, count: int = 1) -> None:
        """Count `count` calls that took `latency_ns` nanoseconds each."""
        with self._lock:
            self._counts[_buckets(np.array([latency_ns], np.float64))] += count

    def failed(self) -> None:
        """Count one call that the model failed to answer."""
        with self._lock:
            self.errors += 1

    def judged(self, *, correct: bool) -> None:
        """Count one answer whose truth is known."""
        with self._lock:
            self.labelled += 1
            self.correct += correct

    def judgements(self) -> tuple[int, int]:
        """Return (labelled, correct)."""
        with self._lock:
            return self.labelled, self.correct

    def fold(self) -> None:
        """Move the waiting latencies into the histogram. Appends beside it are kept for the next time."""
        with self._lock:
            count = len(self.pending)
            waiting = self.pending[:count]
            del self.pending[:count]
            if waiting:
                self._counts += np.bincount(_buckets(np.array(waiting, np.float64)), minlength=BUCKETS)

    @property
    def inferences(self) -> int:
        return int(self.latency_counts().sum())

    def latency_counts(self) -> Array:
        """Return how many calls fell into each bucket of wire.histogram: int64 [BUCKETS]."""
        self.fold()
        with self._lock:
            return self._counts.copy()


def _buckets(latency_ns: Array) -> Array:
    """Return wire.histogram.bucket_of for each."""
    logs = np.log(np.maximum(latency_ns * 1e-3, 1.0)) * PER_LOG
    buckets: Array = np.minimum(np.ceil(logs), BUCKETS - 1).astype(np.int64)
    return buckets
