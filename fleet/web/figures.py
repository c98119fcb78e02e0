"""Shares and sums for the page, where fleet/quality.py is more than is needed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.estimating import Estimate
from fleet.rollup import Sums
from fleet.statistics import wilson
from wire.counters import ModelCounters


def added(release: str, parts: Iterable[ModelCounters]) -> ModelCounters:
    """Return the sum of counters, under the name of one release."""
    sums = Sums()
    for part in parts:
        sums.add(part)
    return sums.counters(release)


@dataclass(frozen=True)
class Share:
    """A share of 1 with its 95 % interval; None where nothing was counted."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    trials: int = 0

    @classmethod
    def of(cls, estimate: Estimate | None) -> Share:
        """Return an estimate over devices as what a view shows."""
        if estimate is None:
            return cls()
        return cls(estimate.value, estimate.low, estimate.high, estimate.answers)


def share(successes: int, trials: int) -> Share:
    """Return a share with Wilson's interval, which takes each trial as independent of the others."""
    interval = wilson(successes, trials)
    if interval is None:
        return Share()
    return Share(successes / trials, interval[0], interval[1], trials)
