"""The reports of a device: what is looked at between two of them, and what one says. On the control thread.

Rules:
- one report an interval, later under load (edge/report_pace.py); the last one when the agent ends;
- a report and the samples of its interval stay inside the budget of bytes. Counters come first: they take
  what they need, but for counts by class, of which half of the budget is taken and the rest waits; samples
  take what is left, and what has no room is counted;
- a report fits one message: releases without room in it are in the next one, and the last report may so be
  several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from edge.observing import Observing
from edge.recorder import MAX_CELLS, Recorder
from edge.report_pace import ReportPace
from edge.results import Result
from wire.codec import encode
from wire.deadline import Clock
from wire.errors import MessageError
from wire.messages import MAX_PAYLOAD_BYTES, Loss, Samples, Telemetry, Vitals

_WATCH_EVERY_S: Final = 1.0
#: What a cell of a matrix takes at most, in JSON: three numbers.
_CELL_BYTES: Final = 20
_HEAD_BYTES: Final = 200
#: For the releases: a message without its head, the vitals and what was lost.
_RELEASES_BYTES: Final = MAX_PAYLOAD_BYTES - 4096


class VitalsPort(Protocol):
    """Reads resource use (edge/adapters/vitals.py)."""

    def watch(self) -> None: ...

    def read(self) -> Vitals: ...


@dataclass(frozen=True)
class ReportParts:
    """What a report is made of. `waiting` says how many inputs wait for a model now."""

    recorder: Recorder
    observing: Observing
    vitals: VitalsPort
    clock: Clock
    waiting: Callable[[], int] = lambda: 0


class Reporting:
    """Watches, and cuts reports. Seconds and bytes."""

    def __init__(self, parts: ReportParts, interval_s: float, budget_bytes: int) -> None:
        self._parts = parts
        self._pace = ReportPace(interval_s)
        self._budget_bytes = budget_bytes
        self._last_s = parts.clock()
        self._watched_s = self._last_s
        self._waited = 0
        self._missed: dict[str, int] = {}

    def turn(self) -> None:
        """Look at what passes between two reports; a few microseconds, but for a fold of the counters."""
        parts, now_s = self._parts, self._parts.clock()
        parts.recorder.fold()
        self._waited = max(self._waited, parts.waiting())
        if now_s - self._watched_s >= _WATCH_EVERY_S:
            self._watched_s = now_s
            parts.vitals.watch()

    def look(self, model: str, results: list[Result], observed: list[Result], missed: int) -> None:
        """Take note of a model's answers; `missed` counts those since boot that nobody could look at."""
        self._parts.observing.look(results, observed, missed - self._missed.get(model, 0))
        self._missed[model] = missed

    @property
    def due(self) -> bool:
        return self._parts.clock() - self._last_s >= self._pace.interval_s

    @property
    def late(self) -> bool:
        """Whether the last report had no room for all releases."""
        return self._parts.recorder.late

    def cut(self, loss: Loss, *, final: bool = False) -> tuple[Telemetry, Sequence[Samples]]:
        """Return the report since the last one and its samples; `loss` is what the caller knows of it."""
        parts, now_s = self._parts, self._parts.clock()
        interval_s = max(0.001, round(now_s - self._last_s, 3))
        self._last_s = now_s  # first: one that cannot be cut is not tried again at once
        vitals = parts.vitals.read()
        telemetry = Telemetry(
            interval_s=interval_s,
            models=parts.recorder.cut(
                min(MAX_CELLS, self._budget_bytes // 2 // _CELL_BYTES), _RELEASES_BYTES
            ),
            vitals=vitals,
            loss=loss,
            final=final,
            queue_depth=self._waited,
        )
        self._waited = 0
        self._pace.reported(interval_s, vitals.cpu_percent)
        samples = list(parts.observing.cut(self._budget_bytes - _bytes(telemetry)))
        return replace(telemetry, loss=self._with_own(loss)), samples

    def _with_own(self, loss: Loss) -> Loss:
        observing = self._parts.observing
        return replace(
            loss,
            samples_thinned=observing.thinned,
            samples_unsaved=observing.unsaved,
            truths_unknown=observing.refused("unknown"),
            truths_unfit=observing.refused("unfit"),
        )


def _bytes(telemetry: Telemetry) -> int:
    try:
        return len(encode(telemetry)) + _HEAD_BYTES
    except MessageError:  # whoever sends it meets that too, and counts it
        return _HEAD_BYTES
