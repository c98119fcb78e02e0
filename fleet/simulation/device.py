"""One simulated device: pure, seeded, and asked for its next words by whoever has a clock.

It numbers its messages as a real one does (boot, sequence), keeps no outbox (fleet/simulation/outbox.py
does) and draws all chance from its own generator, so that a fleet of a seed is always the same fleet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fleet.simulation.answers import Ability, answer
from fleet.simulation.scenario import Conditions, Scenario
from wire.messages import (
    STREAMS,
    Event,
    EventReport,
    Head,
    Loss,
    ModelState,
    Online,
    Reported,
    Samples,
    SamplesReport,
    Telemetry,
    TelemetryReport,
    Vitals,
)
from wire.topics import Leaf

#: Boards: their tag and name, the median latency of a call, the temperature that they idle at.
_BOARDS: Final = (
    ("pi3", "Raspberry Pi 3 Model B Plus Rev 1.3", 42_000.0, 52.0),
    ("pi4", "Raspberry Pi 4 Model B Rev 1.4", 16_000.0, 48.0),
    ("pi5", "Raspberry Pi 5 Model B Rev 1.0", 6_500.0, 45.0),
)

#: Accuracy differs between devices by so much (standard deviation): cameras hang where they hang.
_DEVICE_SD: Final = 0.02

#: Above this a board throttles.
_THROTTLE_C: Final = 80.0
_MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Said:
    """A message for the device's own leaf. `durable` ones are numbered; the others are retained."""

    leaf: Leaf
    message: Any

    @property
    def durable(self) -> bool:
        return self.leaf in STREAMS


def device_name(number: int) -> str:
    """Return the name of a simulated device."""
    return f"sim-{number:05}"


class SimulatedDevice:
    """Device number `number` of a scenario; `boot` names this life of it."""

    def __init__(self, scenario: Scenario, number: int, boot: str = "sim-1") -> None:
        self.name = device_name(number)
        self.number = number
        self.boot = boot
        self._scenario = scenario
        self._rng = np.random.default_rng([scenario.seed, number])
        board, self._board, self._latency_us, self._idle_c = _BOARDS[number % len(_BOARDS)]
        site = scenario.sites[number % len(scenario.sites)]
        self._tags = (f"site={site}", f"board={board}")
        self._own_accuracy = float(self._rng.normal(0.0, _DEVICE_SD))
        self._sequences: dict[Leaf, int] = {}
        self._totals: dict[str, int] = {}
        self._release = ""
        self._before: str | None = None
        self._states = 0
        self._born_s = 0.0

    def birth(self, time_s: float) -> Said:
        """Return its word that it is there."""
        self._born_s = self._born_s or time_s
        return Said("online", Online(self.boot, online=True, software="simulated"))

    def will(self) -> Said:
        """Return the word that the broker says when it has gone."""
        return Said("online", Online(self.boot, online=False))

    def speak(self, time_s: float, met: Conditions, *, final: bool = False) -> list[Said]:
        """Return what it says at the end of an interval, at Unix time `time_s`."""
        said: list[Said] = []
        if met.release != self._release:
            said += self._change(time_s, met.release)
        said.append(Said("telemetry", self._report(time_s, met, final=final)))
        if self._scenario.samples:
            said.append(Said("samples", self._samples(time_s, met)))
        return said

    def _head(self, stream: Leaf, time_s: float) -> Head:
        self._sequences[stream] = self._sequences.get(stream, 0) + 1
        return Head(self.boot, self._sequences[stream], 1, time_s)

    def _change(self, time_s: float, release: str) -> list[Said]:
        """Go over to another release, with the events and the state of a real update."""
        self._before, self._release = self._release or None, release
        model = self._scenario.model
        steps = [
            ("idle", "download", "plan"),
            ("download", "stage", "complete"),
            ("stage", "idle", "committed"),
        ]
        said = [
            Said("event", EventReport(self._head("event", time_s), Event(model, *step, release)))
            for step in (steps if self._before else [("idle", "idle", "started")])
        ]
        self._states += 1
        state = ModelState(model, "idle", self._release, self._before)
        reported = Reported(
            self.boot, self._states, time_s, (state,), ("all",), clock="system", board=self._board,
            machine="aarch64",
        )  # fmt: skip
        return [*said, Said("reported", reported)]

    def _report(self, time_s: float, met: Conditions, *, final: bool) -> TelemetryReport:
        scenario, rng = self._scenario, self._rng
        hot_c, slow = self._heat(met)
        n = int(rng.poisson(scenario.rate_hz * scenario.interval_s))
        self._totals[met.release] = self._totals.get(met.release, 0) + n
        ability = Ability(
            release=met.release,
            accuracy=self._accuracy(met),
            latency_us=self._latency_us * (1 + slow),
            drift_sd=met.drift_sd,
            classes=scenario.classes,
            labelled=scenario.labelled,
            features=scenario.features,
            tags=self._tags,
        )
        counters = answer(rng, ability, n, self._totals[met.release])
        if self._sequences.get("telemetry", 0) % 60 == 0:
            counters = replace(counters, golden_runs=1, golden_failed=0)
        body = Telemetry(
            scenario.interval_s, (counters,), self._vitals(time_s, hot_c, slow), Loss(), final,
            int(rng.poisson(0.3 + 3 * slow)),
        )  # fmt: skip
        return TelemetryReport(self._head("telemetry", time_s), body)

    def _accuracy(self, met: Conditions) -> float:
        """Drift costs accuracy too: about five points for a standard deviation."""
        accuracy = self._scenario.accuracy + self._own_accuracy - met.lost_accuracy - 0.05 * met.drift_sd
        return min(1.0, max(0.0, accuracy))

    def _heat(self, met: Conditions) -> tuple[float, float]:
        """Return the temperature, and by how much the board is slowed down by it, 0 to 1."""
        hot_c = min(self._idle_c + 8 + met.heat_c + float(self._rng.normal(0, 1.0)), 86.0)
        return hot_c, min(1.0, max(0.0, (hot_c - _THROTTLE_C) / 5))

    def _vitals(self, time_s: float, hot_c: float, slow: float) -> Vitals:
        rng, interval_s = self._rng, self._scenario.interval_s
        busy = min(95.0, 100 * self._scenario.rate_hz * self._latency_us * (1 + slow) / 1e6)
        up_s = max(interval_s, time_s - self._born_s + interval_s)
        return Vitals(
            cpu_percent=round(busy / 4 + 3 + float(rng.random()), 1),
            process_cpu_percent=round(busy, 1),
            rss_bytes=int((88 + 4 * math.tanh(up_s / 86_400) + rng.random()) * _MIB),
            memory_available_bytes=int((420 + 20 * rng.random()) * _MIB),
            disk_free_bytes=int(9_000_000_000 - 1000 * up_s),
            temperature_c=round(hot_c, 1),
            network_sent_bytes=int(40 * up_s),
            network_received_bytes=int(9 * up_s),
            throttled=0b100 | 0b100 << 16 if slow else 0,
            undervoltages=0,
            throttled_s=round(interval_s * slow, 1),
            clock_mhz=round(1500 * (1 - 0.4 * slow)),
            uptime_s=round(up_s, 1),
        )

    def _samples(self, time_s: float, met: Conditions) -> SamplesReport:
        """Half of the samples are taken at random, half because the answer was unsure."""
        scenario, rng = self._scenario, self._rng
        head = self._head("samples", time_s)
        n, classes = scenario.samples, scenario.classes
        truth = rng.integers(0, classes, n)
        right = rng.random(n) < self._accuracy(met)
        predicted = np.where(right, truth, (truth + 1) % classes)
        unsure = np.arange(n) % 2 == 1
        confidence = np.where(unsure, 0.35 + 0.2 * rng.random(n), 0.75 + 0.24 * rng.random(n)).round(3)
        known = rng.random(n) < scenario.labelled
        body = Samples(
            release=met.release,
            rate=min(1.0, n / max(1.0, 2 * scenario.rate_hz * scenario.interval_s)),
            ids=tuple(f"{self.boot}-{head.sequence}-{i}" for i in range(n)),
            predicted=tuple(predicted.tolist()),
            confidence=tuple(confidence.tolist()),
            truth=tuple(int(t) if k else None for t, k in zip(truth, known, strict=True)),
            times_s=tuple(time_s - scenario.interval_s * (n - i) / (n + 1) for i in range(n)),
            policies=tuple("low-confidence" if u else "uniform" for u in unsure),
            outputs=tuple((c, round((1 - c) * 0.6, 3)) for c in confidence.tolist()),
            slices=(self._tags,) * n,
        )
        return SamplesReport(head, body)
