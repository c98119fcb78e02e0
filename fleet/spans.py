"""Stretches of a device's or a fleet's history, and how many of them fit a chart.

A chart has at most `MAX_POINTS` points: a page that is handed more dies of them. What is too fine is merged
into longer slots, so that every report is in one of them; nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fleet.rollup import Sums
from fleet.timing import slot
from wire.counters import ModelCounters

MAX_POINTS: Final = 2000


@dataclass(frozen=True)
class Slot:
    """The sum of `reports` reports in the `seconds` from `start_s` on (Unix time).

    Over several releases, a report that speaks of two of them counts for each.
    `left_out` are counts of pairs of classes, features and tags that found no room (fleet/rollup.py).
    """

    start_s: int
    seconds: int
    reports: int
    counters: ModelCounters
    left_out: int = 0


@dataclass(frozen=True)
class Spread:
    """The lowest, the mean and the highest of some values."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class VitalsSpan:
    """Resource use of one device in the `seconds` from `start_s` on; 0 s is a single report.

    None is what the board does not tell. `throttled_s` is by report.
    """

    start_s: float
    seconds: int
    reports: int
    cpu_percent: Spread | None
    rss_bytes: Spread | None
    temperature_c: Spread | None
    throttled_s: Spread | None


#: How many values, their sum, the lowest and the highest; the latter None without any.
Measured = tuple[int, float, float | None, float | None]
NOTHING: Final[Measured] = (0, 0.0, None, None)


class Slots:
    """Gathers sums into slots of one length."""

    def __init__(self, seconds: int, release: str) -> None:
        self._seconds = seconds
        self._release = release
        self._sums: dict[int, Sums] = {}
        self._reports: dict[int, int] = {}

    def add(self, time_s: float, reports: int, counters: ModelCounters) -> None:
        """Add what a device said."""
        self._at(time_s, reports).add(counters)

    def add_plain(self, time_s: float, reports: int, plain: Mapping[str, object], left_out: int = 0) -> None:
        """Add a sum as it lies in the store."""
        sums = self._at(time_s, reports).add_plain(plain)
        sums.left_out += left_out

    def _at(self, time_s: float, reports: int) -> Sums:
        start_s = slot(time_s, self._seconds)
        self._reports[start_s] = self._reports.get(start_s, 0) + reports
        return self._sums.setdefault(start_s, Sums())

    def result(self) -> list[Slot]:
        """Return the slots that hold anything, the earliest first."""
        return [
            Slot(start_s, self._seconds, self._reports[start_s], s.counters(self._release), s.left_out)
            for start_s, s in sorted(self._sums.items())
        ]


def length(since_s: float, until_s: float, wanted_s: int, points: int = MAX_POINTS) -> int:
    """Return the shortest multiple of `wanted_s` of which at most `points` slots touch the stretch."""
    factor = 1
    while _touched(since_s, until_s, wanted_s * factor) > points:
        factor = max(factor + 1, factor * _touched(since_s, until_s, wanted_s * factor) // (points + 1))
    return wanted_s * factor


def _touched(since_s: float, until_s: float, seconds: int) -> int:
    if until_s <= since_s:
        return 0
    return int(-(-until_s // seconds)) - int(since_s // seconds)


def merge_measured(parts: Iterable[Measured]) -> Measured:
    """Return all values of several as one."""
    n, total, low, high = NOTHING
    for count, sum_, lowest, highest in parts:
        n, total = n + count, total + sum_
        if lowest is not None and (low is None or lowest < low):
            low = lowest
        if highest is not None and (high is None or highest > high):
            high = highest
    return n, total, low, high


def spread(measured: Measured) -> Spread | None:
    """Return the spread of some values, None of none."""
    n, total, low, high = measured
    return Spread(low, total / n, high) if n and low is not None and high is not None else None
