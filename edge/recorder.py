"""Counters of each release, and their change from one report to the next."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from edge.backend import Array
from edge.meter import Meter
from wire.counters import ModelCounters
from wire.histogram import BUCKETS, pack


@dataclass(frozen=True)
class _Counters:
    """What one release had done at the time of a cut."""

    errors: int = 0
    labelled: int = 0
    correct: int = 0
    latency_us: Array = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))


class Recorder:
    """Holds a meter for each release, which whoever runs it counts on; the control thread cuts reports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: dict[str, Meter] = {}
        self._before: dict[str, _Counters] = {}

    def meter(self, release: str) -> Meter:
        """Return the meter of `release`, the same one for each model that is loaded for it."""
        with self._lock:
            return self._meters.setdefault(release, Meter())

    def since_boot(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors)."""
        meter = self.meter(release)
        return meter.inferences, meter.errors

    def cut(self) -> tuple[ModelCounters, ...]:
        """Return what each release did since the last cut, without those that did nothing."""
        with self._lock:
            meters = dict(self._meters)
        now = {release: _read(meter) for release, meter in meters.items()}
        before, self._before = self._before, now
        changes = (_change(release, before.get(release, _Counters()), now[release]) for release in now)
        return tuple(c for c in changes if c.inferences or c.errors or c.labelled)


def _read(meter: Meter) -> _Counters:
    labelled, correct = meter.judgements()  # before the inferences: an answer is counted before its truth
    return _Counters(meter.errors, labelled, correct, meter.latency_counts())


def _change(release: str, before: _Counters, now: _Counters) -> ModelCounters:
    latency_us = now.latency_us - before.latency_us
    return ModelCounters(
        release=release,
        inferences=int(latency_us.sum()),
        errors=now.errors - before.errors,
        latency_us=pack(latency_us.tolist()),
        labelled=now.labelled - before.labelled,
        correct=now.correct - before.correct,
        total=int(now.latency_us.sum()),
    )
