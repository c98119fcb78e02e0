"""What the page reads, from the fleet's database as it is: raw reports are added up when asked for."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.labels import Labels
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.msgspec_codec import decode
from fleet.adapters.registry import Registry
from fleet.health import DEFAULT_INTERVAL_S, metadata_is_stale
from fleet.progress import Rollout, rollout
from fleet.view import DeviceFacts, rows
from fleet.web.figures import added
from fleet.web.reading import DeviceNow, EventLine, SampleLine, SampleQuery, Slot, Window
from wire.counters import ModelCounters
from wire.messages import Event, Release, Reported, Samples, Telemetry, Vitals

#: Reports of samples that are looked through for those that are asked for.
_LOOKED_THROUGH: Final = 2_000


class StoreReading:
    """The port fleet/web/reading.py on one connection."""

    def __init__(
        self, database: Database, registry: Registry, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._registry = registry
        self._reader = FleetReader(database)
        self._labels = Labels(database)
        self._wall_clock = wall_clock

    def devices(self) -> list[DeviceNow]:
        now_s = self._wall_clock()
        totals, issued_s = self._reader.totals(), MetadataStore(self._database).issued_s()
        found = self._database.sql.execute(
            "select d.name, d.online, d.last_seen_s, d.reported, d.telemetry, coalesce(w.groups, '[]') "
            "from device d left join desired w on w.device = d.name order by d.name"
        )
        devices = []
        for name, online, last_seen_s, reported_bytes, telemetry_bytes, groups in found:
            reported = decode(Reported, reported_bytes) if reported_bytes else None
            telemetry = decode(Telemetry, telemetry_bytes) if telemetry_bytes else None
            version = reported.timestamp_version if reported and online else None
            facts = DeviceFacts(
                device=name,
                online=bool(online),
                silent_for_s=now_s - last_seen_s,
                reported=reported,
                telemetry=telemetry,
                totals=totals.get(name, {}),
                stale_metadata=metadata_is_stale(version, issued_s, now_s),
            )
            shown = tuple(rows(facts))
            serving = {row.current for row in shown}
            models = telemetry.models if telemetry else ()
            devices.append(
                DeviceNow(
                    rows=shown,
                    last_seen_s=last_seen_s,
                    groups=tuple(json.loads(groups)),
                    latest=tuple(c for c in models if c.release in serving),
                    interval_s=telemetry.interval_s if telemetry else DEFAULT_INTERVAL_S,
                    vitals=telemetry.vitals if telemetry else None,
                )
            )
        return devices

    def releases(self) -> list[Release]:
        return self._registry.releases()

    def rollouts(self) -> list[Rollout]:
        plans = self._registry.plans()
        devices = self._reader.devices(self._registry.desired())
        return [rollout(plan, devices, plans) for plan in plans]

    def totals(self, release: str) -> dict[str, ModelCounters]:
        rows = self._reader.totals()
        return {
            device: ModelCounters(
                release=release,
                inferences=total.inferences,
                errors=total.errors,
                latency_us=total.latency_us,
                labelled=total.labelled,
                correct=total.correct,
                total=total.inferences,
            )
            for device, by_release in rows.items()
            if (total := by_release.get(release)) is not None
        }

    def by_device(self, release: str, window: Window) -> dict[str, ModelCounters]:
        parts: dict[str, list[ModelCounters]] = defaultdict(list)
        for device, _, telemetry in self._telemetry(window):
            parts[device] += [c for c in telemetry.models if c.release == release]
        return {device: added(release, counters) for device, counters in parts.items() if counters}

    def fleet(self, release: str, window: Window) -> list[Slot]:
        return self._slots(window, release=release)

    def device(self, device: str, window: Window) -> list[Slot]:
        return self._slots(window, device=device)

    def vitals(self, device: str, window: Window) -> list[tuple[float, Vitals]]:
        return [(time_s, telemetry.vitals) for _, time_s, telemetry in self._telemetry(window, device)]

    def events(self, device: str | None, limit: int) -> list[EventLine]:
        found = self._database.sql.execute(
            "select device, time_s, body from report where (? is null or device = ?) and stream = 'event' "
            "order by received_s desc, sequence desc limit ?",
            (device, device, limit),
        )
        return [EventLine(name, time_s, decode(Event, body)) for name, time_s, body in found]

    def samples(self, query: SampleQuery) -> list[SampleLine]:
        labels = self._labels.all()
        lines = [
            line
            for line in self._sample_lines(labels)
            if query.release in (None, line.release) and _is_shown(line, query.show)
        ]
        if query.show == "unsure":
            lines.sort(key=lambda line: line.confidence if line.confidence is not None else 2.0)
        return lines[: query.limit]

    def refusals(self) -> dict[str, int]:
        return self._reader.refusals()

    def _telemetry(self, window: Window, device: str | None = None) -> Iterator[tuple[str, float, Telemetry]]:
        found = self._database.sql.execute(
            "select device, time_s, body from report where (? is null or device = ?) "
            "and stream = 'telemetry' and time_s >= ? and time_s < ? order by time_s",
            (device, device, window.since_s, window.until_s),
        )
        for name, time_s, body in found:
            yield name, time_s, decode(Telemetry, body)

    def _slots(self, window: Window, *, release: str | None = None, device: str | None = None) -> list[Slot]:
        parts: dict[tuple[int, str], list[ModelCounters]] = defaultdict(list)
        step_s = window.resolution_s
        for _, time_s, telemetry in self._telemetry(window, device):
            number = int((time_s - window.since_s) // step_s)
            for counters in telemetry.models:
                if release in (None, counters.release):
                    parts[number, counters.release].append(counters)
        return [
            Slot(window.since_s + number * step_s, step_s, len(same), added(name, same))
            for (number, name), same in sorted(parts.items())
        ]

    def _sample_lines(self, labels: dict[tuple[str, str], tuple[int, str]]) -> Iterator[SampleLine]:
        found = self._database.sql.execute(
            "select device, time_s, body from report where stream = 'samples' "
            "order by received_s desc limit ?",
            (_LOOKED_THROUGH,),
        )
        for device, time_s, body in found:
            samples = decode(Samples, body)
            for i, sample_id in enumerate(samples.ids):
                label, who = labels.get((device, sample_id), (None, ""))
                yield SampleLine(
                    device=device,
                    release=samples.release,
                    sample_id=sample_id,
                    time_s=samples.times_s[i] if samples.times_s else time_s,
                    predicted=samples.predicted[i],
                    confidence=samples.confidence[i],
                    truth=samples.truth[i],
                    policy=samples.policies[i] if samples.policies else "",
                    slices=samples.slices[i] if samples.slices else (),
                    outputs=samples.outputs[i] if samples.outputs else (),
                    input_base64=samples.inputs[i] if samples.inputs else None,
                    label=label,
                    labelled_by=who,
                )


def _is_shown(line: SampleLine, show: str) -> bool:
    known = line.label if line.label is not None else line.truth
    match show:
        case "wrong":
            return known is not None and known != line.predicted
        case "unsure":
            return known is None
        case _:
            return True
