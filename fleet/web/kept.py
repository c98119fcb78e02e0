"""A reading that remembers for a moment: ten people who look cost as much as one.

What takes long to read is kept for longer, so that looking at a large fleet costs a fifth of a core at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from fleet.agreeing import Agreement
from fleet.alerts import Alert
from fleet.findings import ReleaseFacts
from fleet.progress import Rollout
from fleet.spans import Slot, VitalsSpan
from fleet.web.reading import DeviceNow, EventLine, Meaning, Reading, SampleLine, SampleQuery, Window
from wire.counters import ModelCounters
from wire.messages import Release

P = ParamSpec("P")
T = TypeVar("T")

#: How old an answer may be; curves move slowly and cost more.
_NOW_S: Final = 1.0
_CURVES_S: Final = 5.0
_COMPARED_S: Final = 60.0
_MOST: Final = 200

#: So many times as long as a reading took the next one waits.
_REST: Final = 4.0


class Kept:
    """The port of fleet/web/reading.py over another one."""

    def __init__(self, reading: Reading, clock: Callable[[], float] = time.monotonic) -> None:
        self._reading = reading
        self._clock = clock
        #: By what was asked for: until when it is kept, and what it is. `forget` puts another one in its
        #: place, so that what is just being read when somebody forgets is not kept.
        self._answers: dict[tuple[Any, ...], tuple[float, Any]] = {}

    def forget(self) -> None:
        """Read anew what is asked for next; any thread may say so."""
        self._answers = {}

    def devices(self) -> Sequence[DeviceNow]:
        return self._keep(_NOW_S, self._reading.devices)

    def releases(self) -> Sequence[Release]:
        return self._keep(_NOW_S, self._reading.releases)

    def rollouts(self) -> Sequence[Rollout]:
        return self._keep(_NOW_S, self._reading.rollouts)

    def alerts(self) -> Sequence[Alert]:
        return self._keep(_NOW_S, self._reading.alerts)

    def total(self, release: str) -> ModelCounters:
        return self._keep(_CURVES_S, self._reading.total, release)

    def by_device(self, release: str, window: Window) -> Mapping[str, ModelCounters]:
        return self._keep(_CURVES_S, self._reading.by_device, release, window)

    def meaning(self, release: str) -> Meaning:
        return self._keep(_COMPARED_S, self._reading.meaning, release)

    def agreements(self, release: str) -> Sequence[Agreement]:
        return self._keep(_CURVES_S, self._reading.agreements, release)

    def compared(self, release: str) -> ReleaseFacts | None:
        return self._keep(_COMPARED_S, self._reading.compared, release)

    def fleet(self, release: str, window: Window) -> Sequence[Slot]:
        return self._keep(_CURVES_S, self._reading.fleet, release, window)

    def device(self, device: str, release: str | None, window: Window) -> Sequence[Slot]:
        return self._keep(_NOW_S, self._reading.device, device, release, window)

    def device_releases(self, device: str, window: Window) -> Mapping[str, ModelCounters]:
        return self._keep(_CURVES_S, self._reading.device_releases, device, window)

    def vitals(self, device: str, window: Window, points: int) -> Sequence[VitalsSpan]:
        return self._keep(_NOW_S, self._reading.vitals, device, window, points)

    def events(self, device: str | None, limit: int) -> Sequence[EventLine]:
        return self._keep(_NOW_S, self._reading.events, device, limit)

    def samples(self, query: SampleQuery) -> Sequence[SampleLine]:
        return self._keep(_NOW_S, self._reading.samples, query)

    def refusals(self) -> Mapping[str, int]:
        return self._keep(_NOW_S, self._reading.refusals)

    def _keep(self, seconds: float, read: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        key, now_s = (read.__name__, *arguments), self._clock()
        answers = self._answers
        found = answers.get(key)
        if found is None or now_s >= found[0]:
            if len(answers) >= _MOST:
                answers.clear()
            made = read(*arguments, **options)
            end_s = self._clock()
            found = answers[key] = (end_s + max(seconds, _REST * (end_s - now_s)), made)
        answer: T = found[1]
        return answer
