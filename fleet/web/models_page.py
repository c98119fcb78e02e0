"""All releases, each a line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fleet.web import wording
from fleet.web.figures import share
from fleet.web.reading import DeviceNow
from wire.counters import ModelCounters
from wire.histogram import quantile
from wire.messages import Release


@dataclass(frozen=True)
class ReleaseLine:
    """One release, ready to be read."""

    release: str
    devices: str
    inferences: str
    errors: int
    p50: str
    p99: str
    accuracy: str
    accuracy_range: str
    labels: str
    size: str


def model_lines(
    releases: Sequence[Release],
    devices: Iterable[DeviceNow],
    total: Callable[[str], ModelCounters],
) -> list[ReleaseLine]:
    """Return a line for each release, the newest first; `total` adds one up over all devices."""
    running = Counter(row.current for d in devices for row in d.rows)
    return [_line(release, running[release.name], total(release.name)) for release in reversed(releases)]


def _line(release: Release, running: int, total: ModelCounters) -> ReleaseLine:
    right = share(total.correct, total.labelled)
    return ReleaseLine(
        release=release.name,
        devices=wording.count(running),
        inferences=wording.short_count(total.inferences),
        errors=total.errors,
        p50=wording.micros(quantile(total.latency_us, 0.5)),
        p99=wording.micros(quantile(total.latency_us, 0.99)),
        accuracy=wording.percent(right.value),
        accuracy_range=wording.percent_range(right.low, right.high),
        labels=wording.short_count(right.trials),
        size=wording.size(release.manifest.tflite_bytes),
    )
