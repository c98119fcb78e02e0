"""All releases, each a line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fleet.web import wording
from fleet.web.counted_line import CountedLine, counted_line
from fleet.web.reading import DeviceNow
from wire.counters import ModelCounters
from wire.messages import Release


@dataclass(frozen=True)
class ReleaseLine:
    """One release, ready to be read."""

    counted: CountedLine
    devices: str
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
    return ReleaseLine(
        counted=counted_line(release.name, total, wording.short_count),
        devices=wording.count(running),
        size=wording.size(release.manifest.tflite_bytes),
    )
