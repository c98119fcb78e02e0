"""What the page reads, from the fleet's database: the history's sums, the evaluator's rules and alerts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from fleet.adapters.agreement_table import AgreementTable
from fleet.adapters.alert_book import AlertBook
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.health_reader import HealthReader
from fleet.adapters.history import History, Sample
from fleet.adapters.labels import Labels
from fleet.adapters.registry import Registry
from fleet.adapters.release_reader import ReleaseReader
from fleet.agreeing import Agreement
from fleet.alerts import Alert
from fleet.boards import board_kind
from fleet.class_names import ClassNames
from fleet.findings import ReleaseFacts
from fleet.health_rules import judge
from fleet.progress import Rollout, rollout
from fleet.spans import Slot, VitalsSpan
from fleet.view import DeviceFacts, rows
from fleet.web.figures import added
from fleet.web.reading import DeviceNow, EventLine, Meaning, SampleLine, SampleQuery, Window
from wire.counters import ModelCounters
from wire.messages import Release

#: Newest samples that are looked through for those that are asked for.
_LOOKED_THROUGH: Final = 2_000


class StoreReading:
    """The port fleet/web/reading.py on one connection. Nobody is silent for longer than we listen."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        wall_clock: Callable[[], float] = time.time,
        *,
        listening_since_s: float = 0.0,
    ) -> None:
        self._database = database
        self._registry = registry
        self._reader = FleetReader(database)
        self._history = History(database, wall_clock)
        self._health = HealthReader(database)
        self._alerts = AlertBook(database)
        self._releases = ReleaseReader(database, self._history)
        self._labels = Labels(database)
        self._agreements = AgreementTable(database)
        self._wall_clock = wall_clock
        self._listening_since_s = listening_since_s

    def devices(self) -> list[DeviceNow]:
        totals = self._reader.totals()
        found = self._database.sql.execute(
            "select d.name, d.last_seen_s, coalesce(w.groups, '[]') "
            "from device d left join desired w on w.device = d.name"
        )
        known = {name: (last_seen_s, groups) for name, last_seen_s, groups in found}
        devices = []
        for facts in self._health.facts(self._wall_clock(), self._listening_since_s, totals):
            if facts.device not in known:  # it came between the two readings
                continue
            last_seen_s, groups = known[facts.device]
            shown = rows(
                DeviceFacts(
                    device=facts.device,
                    online=facts.online,
                    silent_for_s=facts.silent_for_s,
                    reported=facts.reported,
                    telemetry=facts.telemetry,
                    totals=totals.get(facts.device, {}),
                    stale_metadata=facts.stale_metadata,
                )
            )
            serving = {row.current for row in shown}
            models = facts.telemetry.models if facts.telemetry else ()
            devices.append(
                DeviceNow(
                    rows=tuple(shown),
                    verdict=judge(facts),
                    last_seen_s=last_seen_s,
                    groups=tuple(json.loads(groups)),
                    latest=tuple(c for c in models if c.release in serving),
                    vitals=facts.vitals,
                    board=board_kind(facts.reported),
                )
            )
        return devices

    def alerts(self) -> list[Alert]:
        standing = self._alerts.standing().values()
        return sorted(
            standing, key=lambda a: (a.acknowledged_by is not None, a.severity != "critical", a.raised_s)
        )

    def releases(self) -> list[Release]:
        return self._registry.releases()

    def rollouts(self) -> list[Rollout]:
        plans = self._registry.plans()
        devices = self._reader.devices(self._registry.desired())
        return [rollout(plan, devices, plans) for plan in plans]

    def total(self, release: str) -> ModelCounters:
        return self._history.total(release).counters

    def by_device(self, release: str, window: Window) -> dict[str, ModelCounters]:
        return self._history.by_device(release, window.since_s, window.until_s)

    def compared(self, release: str) -> ReleaseFacts | None:
        return self._releases.facts_of(release, self._reader.reported(), self._wall_clock())

    def fleet(self, release: str, window: Window) -> list[Slot]:
        return self._history.fleet(release, window.since_s, window.until_s, int(window.resolution_s))

    def device(self, device: str, release: str | None, window: Window) -> list[Slot]:
        return self._history.device(device, release, window.since_s, window.until_s, int(window.resolution_s))

    def device_releases(self, device: str, window: Window) -> dict[str, ModelCounters]:
        found = self._database.sql.execute("select distinct release from rollup where scope = ?", (device,))
        sums = {}
        for (release,) in found.fetchall():
            slots = self.device(device, release, window)
            if slots:
                sums[release] = added(release, (slot.counters for slot in slots))
        return sums

    def vitals(self, device: str, window: Window, points: int) -> list[VitalsSpan]:
        return self._history.vitals(device, window.since_s, window.until_s, points)

    def events(self, device: str | None, limit: int) -> list[EventLine]:
        found = self._history.events(device, limit)
        return [EventLine(row.number, row.device, row.at_s, row.event) for row in found]

    def samples(self, query: SampleQuery) -> list[SampleLine]:
        labels = self._labels.all()
        found = self._history.samples(query.release, limit=max(query.limit, _LOOKED_THROUGH))
        lines = [_line(sample, labels) for sample in found]
        lines = [line for line in lines if _is_shown(line, query.show)]
        if query.show == "unsure":
            lines.sort(key=lambda line: line.confidence if line.confidence is not None else 2.0)
        return self._named(lines[: query.limit])

    def _named(self, lines: Iterable[SampleLine]) -> list[SampleLine]:
        names: dict[str, ClassNames] = {}
        named = []
        for line in lines:
            if line.release not in names:
                names[line.release] = self.meaning(line.release).classes
            name = names[line.release].name
            named.append(
                replace(
                    line,
                    predicted_name=name(line.predicted),
                    truth_name=name(line.truth),
                    label_name=name(line.label),
                )
            )
        return named

    def meaning(self, release: str) -> Meaning:
        known = self._registry.known(release)
        if known is None:
            return Meaning()
        manifest, words = known[0].manifest, known[1]
        classes = ClassNames.of(words.labels, manifest)
        return Meaning(classes, manifest.inputs, manifest.preprocessing, words.columns)

    def agreements(self, release: str) -> list[Agreement]:
        return self._agreements.of(release)

    def refusals(self) -> dict[str, int]:
        return self._reader.refusals()


def _line(sample: Sample, labels: dict[tuple[str, str], tuple[int, str]]) -> SampleLine:
    label, who = labels.get((sample.device, sample.id), (None, ""))
    return SampleLine(
        device=sample.device,
        release=sample.release,
        sample_id=sample.id,
        time_s=sample.at_s,
        predicted=sample.predicted,
        confidence=sample.confidence,
        truth=sample.truth,
        policy=sample.policy or "",
        slices=sample.slices,
        outputs=sample.outputs or (),
        input_base64=sample.input,
        label=label,
        labelled_by=who,
    )


def _is_shown(line: SampleLine, show: str) -> bool:
    match show:
        case "wrong":
            return line.known is not None and line.known != line.predicted
        case "unsure":
            return line.known is None
        case _:
            return True
