"""Counters of the inference path, and how a report is cut from them.

The inference thread only ever adds to integers that grow; the control thread copies them and
subtracts what it copied before. So nothing is counted twice or lost between two threads, and no
lock is needed: copying a list of integers is one step for the interpreter.
"""

from __future__ import annotations

from wire.histogram import BUCKETS, bucket_of, pack
from wire.messages import ModelCounters


class ReleaseCounters:
    """What one release did since boot."""

    def __init__(self) -> None:
        self.inferences = 0
        self.errors = 0
        self.labelled = 0
        self.correct = 0
        self.latency_us = [0] * BUCKETS

    def copy(self) -> ReleaseCounters:
        twin = ReleaseCounters()
        twin.latency_us = self.latency_us.copy()  # first: `inferences` is then never behind the histogram
        twin.labelled, twin.correct = self.labelled, self.correct
        twin.inferences, twin.errors = self.inferences, self.errors
        return twin


class Recorder:
    """Counts per release: the inference thread calls `answered` and `failed`, the control thread `cut`."""

    def __init__(self) -> None:
        self._now: dict[str, ReleaseCounters] = {}
        self._before: dict[str, ReleaseCounters] = {}

    def answered(self, release: str, latency_s: float, *, best: int, truth: int | None) -> None:
        """Count one answer; `truth` is the right class where it is known."""
        counters = self._of(release)
        counters.latency_us[bucket_of(latency_s * 1e6)] += 1
        counters.inferences += 1
        if truth is not None:
            counters.labelled += 1
            counters.correct += best == truth

    def failed(self, release: str) -> None:
        """Count one call that the model failed to answer."""
        self._of(release).errors += 1

    def since_boot(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors)."""
        counters = self._of(release)
        return counters.inferences, counters.errors

    def cut(self) -> tuple[ModelCounters, ...]:
        """Return what each release did since the last cut, without those that did nothing."""
        report = []
        for release, counters in list(self._now.items()):
            now, before = counters.copy(), self._before.get(release) or ReleaseCounters()
            self._before[release] = now
            if now.inferences == before.inferences and now.errors == before.errors:
                continue
            report.append(
                ModelCounters(
                    release=release,
                    inferences=now.inferences - before.inferences,
                    errors=now.errors - before.errors,
                    latency_us=pack([b - a for a, b in zip(before.latency_us, now.latency_us, strict=True)]),
                    labelled=now.labelled - before.labelled,
                    correct=now.correct - before.correct,
                    total=now.inferences,
                )
            )
        return tuple(report)

    def _of(self, release: str) -> ReleaseCounters:
        return self._now.setdefault(release, ReleaseCounters())
