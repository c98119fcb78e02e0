"""Fills a store with hours of a simulated fleet, without a broker and without waiting.

The words go through `ReportStore.take` like those of real devices, at the simulated time, so sums, flags and
acknowledgements are what they would have been. A report with samples takes about half a millisecond.

    database = Database(folder).open()
    fill(database, Scenario(interval_s=300), devices=200, hours=6)
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Arrival, Refusal, Word, understand
from fleet.simulation.device import Said, SimulatedDevice
from fleet.simulation.lies import lie
from fleet.simulation.scenario import Scenario, conditions
from fleet.timing import HOUR_S
from wire.codec import encode
from wire.errors import MessageError
from wire.link import Incoming
from wire.topics import DeviceTopic, Topics

_TOPICS = Topics()
_BATCH = 500


@dataclass
class Filled:
    """What was said, and what the store did not take."""

    reports: int = 0
    refused: int = 0


def fill(
    database: Database,
    scenario: Scenario,
    *,
    devices: int,
    hours: float,
    until_s: float | None = None,
    boot: str = "sim-1",
) -> Filled:
    """Let `devices` devices live for `hours` that end at Unix time `until_s` (default: now).

    They report every `scenario.interval_s`, all at the same moments; messages of a device that is away come
    when it is back, the newest first. Filling again with another `boot` adds another life.
    """
    end_s = time.time() if until_s is None else until_s
    begin_s = end_s - hours * HOUR_S
    filling = _Filling(database, scenario, devices, boot)
    moments = int(hours * HOUR_S // scenario.interval_s)
    for n in range(1, moments + 1):
        filling.step(end_s - (moments - n) * scenario.interval_s, begin_s, last=n == moments)
    return filling.filled


class _Filling:
    def __init__(self, database: Database, scenario: Scenario, devices: int, boot: str) -> None:
        self.filled = Filled()
        self._scenario = scenario
        self._now_s = 0.0
        self._store = ReportStore(database, lambda: self._now_s).open()
        self._devices = [SimulatedDevice(scenario, number, boot) for number in range(devices)]
        self._held: dict[int, list[Said]] = {}
        self._away: dict[int, bool] = {}
        Registry(database).open().welcome(device.name for device in self._devices)

    def step(self, now_s: float, begin_s: float, *, last: bool) -> None:
        """Let everybody speak once."""
        self._now_s = now_s
        words: list[Word] = []
        for device in self._devices:
            met = conditions(self._scenario, device.number, (now_s - begin_s) / 60)
            was_away = self._away.get(device.number, True)
            self._away[device.number] = away = not met.connected and not last
            if was_away and not away:
                self._hear(words, device, device.birth(now_s))
            if away and not was_away:
                self._hear(words, device, device.will())
            said = device.speak(now_s, met, final=last)
            if met.lying and not last:
                self._lie(words, device, said)
            elif away:
                self._held.setdefault(device.number, []).extend(said)
            else:
                for word in [*said, *self._held.pop(device.number, ())]:
                    self._hear(words, device, word)
            if len(words) >= _BATCH:
                self._take(words)
        self._take(words)

    def _hear(self, words: list[Word], device: SimulatedDevice, said: Said) -> None:
        self._understand(words, Incoming(_TOPICS.device(device.name, said.leaf), encode(said.message)))

    def _lie(self, words: list[Word], device: SimulatedDevice, said: list[Said]) -> None:
        for word in said:
            payload = encode(word.message)
            if word.leaf == "telemetry":
                payload = lie(word.message.head.sequence, word.message)
            self._understand(words, Incoming(_TOPICS.device(device.name, word.leaf), payload))

    def _understand(self, words: list[Word], message: Incoming) -> None:
        try:
            word = understand(message, _TOPICS, decode)
        except MessageError as error:
            address = _TOPICS.parse(message.topic)
            self._store.count_refusal(error.kind, address.device if isinstance(address, DeviceTopic) else "")
            self.filled.refused += 1
            return
        if word is not None:
            words.append(word)
            self.filled.refused += isinstance(word, Refusal)
            self.filled.reports += isinstance(word, Arrival) and word.stream == "telemetry"

    def _take(self, words: list[Word]) -> None:
        self._store.take(words)
        words.clear()
