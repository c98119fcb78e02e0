"""Counts what one release does, at the price of two list appends a call.

Latencies and outputs wait in lists, whose `append` is atomic, until somebody folds them: the control
thread at each of its turns, or, now and then, a thread that calls. Arrays in a list are nothing to the
garbage collector; the predictions themselves, kept for a while, would set it off every few hundred calls.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from edge.backend import Array
from edge.quality import Quality, QualityCut
from edge.scoring import Scoring
from edge.values import ValueCounts, ValueReader
from wire.counters import MAX_CLASSES, ValueCounters
from wire.histogram import BUCKETS, PER_LOG

Item = TypeVar("Item")

#: So many latencies wait at most: folding 4096 of them takes about 100 us, 25 ns for each.
LIMIT: Final = 4096

#: Outputs are dearer to fold, 150 ns each, and hold memory.
_OUTPUTS_LIMIT: Final = 1024
_OUTPUTS_BYTES: Final = 1024 * 1024

#: An answer whose truth is known, as it waits: its class, the raw first output, its tags, or its value.
Judged = tuple[int | None, Array, tuple[str, ...], float | None]


class Meter:
    """Calls, failures, the latency histogram and the answers of one release since boot.

    `pending` and `outputs` are public for the inference path, which appends nanoseconds to the one, the
    raw first output to the other unless it is None, and calls `fold` when `pending` is longer than `limit`.
    """

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.outputs: list[Array] | None = None
        self.limit = LIMIT
        self.errors = 0
        self.golden_runs = 0
        self.golden_failed = 0
        self._labelled = 0
        self._correct = 0
        self._judged: list[Judged] = []
        self._batches_bytes = 0
        self._scoring: Scoring | None = None
        self._reader: ValueReader | None = None
        self._values = ValueCounts()
        self._quality = Quality()
        self._counts = np.zeros(BUCKETS, np.int64)
        self._lock = threading.Lock()

    def count_answers(self, scoring: Scoring | None, reader: ValueReader | None = None) -> None:
        """Count the answers of the release too, read by `scoring` as classes, or by `reader` as values."""
        with self._lock:
            self._scoring, self._reader = scoring, reader
            way = scoring or reader
            if way is not None:
                self.outputs = [] if self.outputs is None else self.outputs  # others may append to it
                self.limit = max(16, min(_OUTPUTS_LIMIT, _OUTPUTS_BYTES // (8 * way.width)))

    def add(self, latency_ns: int, count: int = 1, raw: Array | None = None) -> None:
        """Count `count` calls that took `latency_ns` nanoseconds each, and their raw first outputs."""
        with self._lock:
            self._counts[_buckets(np.array([latency_ns], np.float64))] += count
            if raw is None or self.outputs is None:
                return
            self.outputs.append(raw)
            self._batches_bytes += raw.nbytes
        if self._batches_bytes > _OUTPUTS_BYTES or len(self.outputs) > self.limit:
            self.fold()

    def failed(self) -> None:
        """Count one call that the model failed to answer."""
        with self._lock:
            self.errors += 1

    def judged(
        self, truth: int | None, raw: Array, tags: tuple[str, ...] = (), value: float | None = None
    ) -> None:
        """Count an answer whose truth is known, a class or a value, by its raw first output.

        Without either only its tags are counted.
        """
        self._judged.append((truth, raw, tags, value))
        if len(self._judged) > self.limit:
            self.fold()

    def judged_later(
        self,
        classes: Sequence[int],
        confidences: Sequence[float],
        truths: Sequence[int],
        tags: tuple[str, ...] = (),
    ) -> None:
        """Count answers whose truth came after them; NaN is a confidence that is not known."""
        said, right = np.asarray(classes, np.int64), np.asarray(truths, np.int64)
        with self._lock:
            self._judge(said, np.asarray(confidences, np.float64), right)
            for correct in (said == right).tolist() if tags else ():
                self._quality.tagged(tags, answered=False, labelled=True, correct=correct)

    def count_features(self, counts: Mapping[str, Array]) -> None:
        """Count features of some inputs: int64 [bins] by name."""
        with self._lock:
            self._quality.measured(counts)

    def tested(self, *, passed: bool) -> None:
        """Count a run of the golden set."""
        with self._lock:
            self.golden_runs += 1
            self.golden_failed += not passed

    def judgements(self) -> tuple[int, int]:
        """Return (labelled, correct)."""
        self.fold()
        with self._lock:
            return self._labelled, self._correct

    def fold(self) -> None:
        """Count what waits. Appends beside it are kept for the next time."""
        with self._lock:
            waiting = _taken(self.pending)
            if waiting:
                self._counts += np.bincount(_buckets(np.array(waiting, np.float64)), minlength=BUCKETS)
            if self.outputs:
                self._fold_outputs(_taken(self.outputs))
            if self._judged:
                self._fold_judged(_taken(self._judged))

    def take_values(self) -> tuple[ValueCounters, ...]:
        """Return what a report can say of answers that are values, and forget it."""
        self.fold()
        with self._lock:
            return self._values.take()

    def take_quality(self, cells: int) -> QualityCut:
        """Return what a report of at most `cells` cells can say of the answers, and forget it."""
        self.fold()
        with self._lock:
            return self._quality.take(cells)

    @property
    def inferences(self) -> int:
        return int(self.latency_counts().sum())

    def latency_counts(self) -> Array:
        """Return how many calls fell into each bucket of wire.histogram: int64 [BUCKETS]."""
        self.fold()
        with self._lock:
            return self._counts.copy()

    def _fold_outputs(self, waiting: list[Array]) -> None:
        self._batches_bytes = 0
        if self._scoring is not None:
            rows = _rows(waiting, self._scoring.width)
            if len(rows):
                self._quality.answered(*self._scoring.read(rows))
        elif self._reader is not None:
            rows = _rows(waiting, self._reader.width)
            if len(rows):
                self._values.answered(self._reader.read(rows))

    def _fold_judged(self, waiting: list[Judged]) -> None:
        if self._reader is not None:
            self._fold_values(waiting, self._reader)
        if self._scoring is None:
            return
        fit = [one for one in waiting if one[1].size == self._scoring.width]
        if not fit:
            return
        classes, confidences = self._scoring.read(np.concatenate([raw.reshape(1, -1) for _, raw, *_ in fit]))
        truths = np.array([-1 if truth is None else truth for truth, *_ in fit], np.int64)
        known = truths >= 0
        self._judge(classes[known], confidences[known], truths[known])
        for (truth, _, tags, _), said in zip(fit, classes.tolist(), strict=True):
            self._quality.tagged(tags, labelled=truth is not None, correct=said == truth)

    def _fold_values(self, waiting: list[Judged], reader: ValueReader) -> None:
        fit = [one for one in waiting if one[1].size == reader.width]
        if not fit:
            return
        values = reader.read(np.concatenate([raw.reshape(1, -1) for _, raw, *_ in fit]))
        truths = [np.nan if value is None else value for *_, value in fit]
        self._values.judged(values, np.array(truths, np.float64))
        for _, _, tags, _ in fit:
            self._quality.tagged(tags, labelled=False, correct=False)

    def _judge(self, classes: Array, confidences: Array, truths: Array) -> None:
        self._labelled += len(truths)
        most = MAX_CLASSES if self._scoring is None else self._scoring.classes
        self._correct += self._quality.judged(classes, confidences, truths, most)


def _taken(waiting: list[Item]) -> list[Item]:
    """Return what is in the list, and leave what others append meanwhile."""
    count = len(waiting)
    taken = waiting[:count]
    del waiting[:count]
    return taken


def _rows(outputs: list[Array], width: int) -> Array:
    """Return raw outputs of single calls and of batches as [n, width], without those that do not fit."""
    try:
        return np.concatenate(outputs).reshape(-1, width)
    except ValueError:  # a model whose outputs change their shape
        fit = [raw.reshape(-1, width) for raw in outputs if raw.size and not raw.size % width]
        return np.concatenate(fit) if fit else np.empty((0, width))


def _buckets(latency_ns: Array) -> Array:
    """Return wire.histogram.bucket_of for each."""
    logs = np.log(np.maximum(latency_ns * 1e-3, 1.0)) * PER_LOG
    buckets: Array = np.minimum(np.ceil(logs), BUCKETS - 1).astype(np.int64)
    return buckets
