"""Counters of the inference path, and how a report is cut from them.

Counters only grow; a report is the difference of two copies, so nothing is counted twice or lost.
One lock makes an answer's counters change together: a copy in between would make a report in which
more answers are labelled than were given. It is held for the time of an addition or a copy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from wire.histogram import BUCKETS, bucket_of, pack
from wire.messages import ModelCounters


@dataclass
class ReleaseCounters:
    """What one release did since boot."""

    inferences: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    latency_us: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def copy(self) -> ReleaseCounters:
        return ReleaseCounters(
            self.inferences, self.errors, self.labelled, self.correct, self.latency_us.copy()
        )


class Recorder:
    """Counts per release: the inference thread calls `answered` and `failed`, the control thread the rest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, ReleaseCounters] = {}
        self._before: dict[str, ReleaseCounters] = {}

    def answered(self, release: str, latency_s: float, *, best: int, truth: int | None) -> None:
        """Count one answer; `truth` is the right class where it is known."""
        bucket = bucket_of(latency_s * 1e6)
        with self._lock:
            counters = self._of(release)
            counters.inferences += 1
            counters.latency_us[bucket] += 1
            if truth is not None:
                counters.labelled += 1
                counters.correct += best == truth

    def failed(self, release: str) -> None:
        """Count one call that the model failed to answer."""
        with self._lock:
            self._of(release).errors += 1

    def since_boot(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors)."""
        with self._lock:
            counters = self._of(release)
            return counters.inferences, counters.errors

    def cut(self) -> tuple[ModelCounters, ...]:
        """Return what each release did since the last cut, without those that did nothing."""
        with self._lock:
            copies = {release: counters.copy() for release, counters in self._now.items()}
        before, self._before = self._before, copies
        nothing = ReleaseCounters()
        changes = (_change(release, before.get(release, nothing), now) for release, now in copies.items())
        return tuple(c for c in changes if c.inferences or c.errors)

    def _of(self, release: str) -> ReleaseCounters:
        return self._now.setdefault(release, ReleaseCounters())


def _change(release: str, before: ReleaseCounters, now: ReleaseCounters) -> ModelCounters:
    return ModelCounters(
        release=release,
        inferences=now.inferences - before.inferences,
        errors=now.errors - before.errors,
        latency_us=pack([b - a for a, b in zip(before.latency_us, now.latency_us, strict=True)]),
        labelled=now.labelled - before.labelled,
        correct=now.correct - before.correct,
        total=now.inferences,
    )
