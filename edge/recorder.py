"""Counters of each release, and their change from one report to the next."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from edge.backend import Array
from edge.meter import Meter
from edge.quality import QualityCut
from edge.remembered import Judgement
from wire.codec import encode
from wire.counters import ModelCounters, SliceCounters
from wire.histogram import BUCKETS, pack

#: Counts of one report beside those that every report has: cells of confusion matrices, classes, slices.
#: A cell is three numbers, some 12 bytes; of slices and features also a name.
MAX_CELLS: Final = 1000
#: Each release gets so many: a feature of ten bins must find room beside three other kinds of counts.
_LEAST_CELLS: Final = 64


@dataclass(frozen=True)
class _Counters:
    """What one release had done at the time of a cut."""

    errors: int = 0
    labelled: int = 0
    correct: int = 0
    golden_runs: int = 0
    golden_failed: int = 0
    latency_us: Array = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))


class Recorder:
    """Holds a meter for each release, which whoever runs it counts on; the control thread cuts reports.

    All answers of this device count under `tags`, such as `site=lab`, besides their own.
    """

    def __init__(self, tags: tuple[str, ...] = ()) -> None:
        self._tags = tags
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self._before: dict[str, _Counters] = {}
        self._late: ModelCounters | None = None  # cut for a report that had no room for it
        self._next = 0  # where the next report begins among the meters

    def meter(self, release: str) -> Meter:
        """Return the meter of `release`, the same one for each model that is loaded for it."""
        found = self._meters.get(release)
        if found is not None:
            return found
        with self._lock:
            return self._meters.setdefault(release, Meter())

    def since_boot(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors)."""
        meter = self.meter(release)
        return meter.inferences, meter.errors

    def judged(self, judgement: Judgement) -> None:
        """Count an answer whose truth came after it."""
        said, truths, confidences = zip(*judgement.rows, strict=True)
        self.meter(judgement.release).judged_later(said, confidences, truths, judgement.tags)

    def fold(self) -> None:
        """Count what waits, so that no caller has to."""
        for meter in self._all().values():
            meter.fold()

    @property
    def late(self) -> bool:
        """Whether the last report had no room for all releases."""
        return self._late is not None

    def cut(self, cells: int = MAX_CELLS, most_bytes: int = 2**62) -> tuple[ModelCounters, ...]:
        """Return what each release did since the last cut, without those that did nothing.

        `cells` is room for counts by class and slice; the releases share it, and what has none waits. So does
        a release for which `most_bytes` of JSON have no room: the next report begins with it.
        """
        meters = list(self._all().items())
        late, changes = self._late, [self._late] if self._late else []
        begin, self._late, self._next = self._next, None, 0
        left_bytes = most_bytes - sum(_bytes(change) for change in changes)
        for done in range(len(meters)):
            place = (begin + done) % len(meters)
            release, meter = meters[place]
            if late and release == late.release:
                continue
            change, used = self._cut(release, meter, max(_LEAST_CELLS, cells // (len(meters) - done)))
            cells -= used
            if not _says_something(change):
                continue
            left_bytes -= _bytes(change)
            if left_bytes < 0 and changes:
                self._late, self._next = change, place + 1
                break
            changes.append(change)
        return tuple(changes)

    def _cut(self, release: str, meter: Meter, cells: int) -> tuple[ModelCounters, int]:
        # Before the inferences: no report may count more answers by class than there were at all.
        quality, values = meter.take_quality(cells), meter.take_values()
        now = _read(meter)
        change = self._change(release, self._before.get(release, _Counters()), now, quality)
        change = replace(change, values=values)
        self._before[release] = now
        return change, quality.cells

    def _all(self) -> dict[str, Meter]:
        with self._lock:
            return dict(self._meters)

    def _change(self, release: str, before: _Counters, now: _Counters, quality: QualityCut) -> ModelCounters:
        latency_us = now.latency_us - before.latency_us
        inferences, labelled = int(latency_us.sum()), now.labelled - before.labelled
        correct = now.correct - before.correct
        everything = (inferences, labelled, correct)
        own = tuple(SliceCounters(tag, *everything) for tag in self._tags if any(everything))
        return ModelCounters(
            release=release,
            inferences=inferences,
            errors=now.errors - before.errors,
            latency_us=pack(latency_us.tolist()),
            labelled=labelled,
            correct=correct,
            total=int(now.latency_us.sum()),
            confusion=quality.confusion,
            predicted=quality.predicted,
            confidence=quality.confidence,
            reliability=quality.reliability,
            features=quality.features,
            slices=(*own, *(one for one in quality.slices if one.tag not in self._tags)),
            golden_runs=now.golden_runs - before.golden_runs,
            golden_failed=now.golden_failed - before.golden_failed,
        )


def _read(meter: Meter) -> _Counters:
    labelled, correct = meter.judgements()  # before the inferences: an answer is counted before its truth
    runs, failed = meter.golden_runs, meter.golden_failed
    return _Counters(meter.errors, labelled, correct, runs, failed, meter.latency_counts())


def _bytes(counters: ModelCounters) -> int:
    return len(encode(counters)) + 1  # with the comma behind it


def _says_something(counters: ModelCounters) -> bool:
    return bool(
        counters.inferences
        or counters.errors
        or counters.labelled
        or counters.golden_runs
        or counters.predicted.counts
        or counters.confusion.counts
        or counters.slices
        or counters.features
        or counters.values
    )
