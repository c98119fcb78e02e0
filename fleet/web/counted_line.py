"""What was counted of a release, as a line of a table; parts.html has its cells. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet.web import wording
from fleet.web.figures import share
from wire.counters import ModelCounters
from wire.histogram import quantile


@dataclass(frozen=True)
class CountedLine:
    """One release, ready to be read."""

    release: str
    inferences: str
    errors: int
    p50: str
    p99: str
    accuracy: str
    accuracy_range: str
    labels: str


def counted_line(
    release: str, total: ModelCounters, count: Callable[[float], str] = wording.count
) -> CountedLine:
    """Return the line of `total`, its numbers written by `count`."""
    right = share(total.correct, total.labelled)
    return CountedLine(
        release=release,
        inferences=count(total.inferences),
        errors=total.errors,
        p50=wording.micros(quantile(total.latency_us, 0.5)),
        p99=wording.micros(quantile(total.latency_us, 0.99)),
        accuracy=wording.percent(right.value),
        accuracy_range=wording.percent_range(right.low, right.high),
        labels=count(right.trials),
    )
