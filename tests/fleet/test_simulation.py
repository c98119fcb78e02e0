"""A simulated fleet says what a real one would: consistent, repeatable, and by its scenario."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.history import History
from fleet.adapters.msgspec_codec import decode
from fleet.ingest import Arrival, Refusal, understand
from fleet.simulation.device import SimulatedDevice
from fleet.simulation.filling import fill
from fleet.simulation.lies import lie
from fleet.simulation.scenario import Conditions, Phase, Scenario, conditions, load, parse
from fleet.spans import Slot
from wire.codec import encode
from wire.errors import MessageError, SettingsError
from wire.histogram import quantile
from wire.link import Incoming
from wire.messages import MAX_PAYLOAD_BYTES, TelemetryReport
from wire.topics import Topics

END_S = 1_796_000_000.0
ROOT = Path(__file__).parents[2]


def _filled(
    folder: Path, scenario: Scenario, devices: int = 30, hours: float = 3
) -> tuple[Database, History]:
    database = Database(folder).open()
    fill(database, scenario, devices=devices, hours=hours, until_s=END_S)
    return database, History(database, lambda: END_S)


def _accuracy(slots: list[Slot]) -> float:
    return sum(s.counters.correct for s in slots) / sum(s.counters.labelled for s in slots)


def test_a_filled_store_holds_every_report_once_and_its_ledger_balances(tmp_path: Path) -> None:
    scenario = Scenario(interval_s=300, phases=(Phase("flapping", 10, 120, 0.5, 20),))
    database, history = _filled(tmp_path, scenario)
    ledger = FleetReader(database).ledger()
    slots = history.fleet(None, END_S - 4 * 3600, END_S + 1, 60)
    assert ledger.problems == ()
    assert sum(s.reports for s in slots) == 30 * 36
    assert sum(s.counters.inferences for s in slots) == ledger.inferences
    assert len(FleetReader(database).rows()) == 30
    database.close()


def test_the_same_seed_is_the_same_fleet() -> None:
    met = Conditions("camera/1")
    said = [[encode(s.message) for s in SimulatedDevice(Scenario(), 4).speak(END_S, met)] for _ in range(2)]
    assert said[0] == said[1]
    assert said[0] != [encode(s.message) for s in SimulatedDevice(Scenario(seed=8), 4).speak(END_S, met)]


def test_a_report_is_consistent_and_small() -> None:
    for drift_sd in (0.0, 2.0):
        (*_, said, _) = SimulatedDevice(Scenario(), 1).speak(END_S, Conditions("camera/1", drift_sd))
        counters = said.message.body.models[0]
        n = counters.inferences
        assert (
            sum(counters.latency_us.counts) == sum(counters.predicted.counts) == sum(counters.confidence) == n
        )
        assert sum(counters.confusion.counts) == sum(counters.reliability.labelled) == counters.labelled
        assert sum(counters.reliability.correct) == counters.correct
        assert all(sum(f.counts) == n for f in counters.features)
        assert len(encode(said.message)) < 2500


def test_a_regression_shows_in_its_release_alone(tmp_path: Path) -> None:
    rollout = Phase("rollout", 60, 30, 0.5, release="camera/2")
    scenario = Scenario(interval_s=300, phases=(rollout, Phase("regression", amount=0.1, release="camera/2")))
    database, history = _filled(tmp_path, scenario)
    one, two = (history.fleet(r, END_S - 4 * 3600, END_S + 1, 3600) for r in ("camera/1", "camera/2"))
    assert _accuracy(one) == pytest.approx(0.93, abs=0.01)
    assert _accuracy(two) == pytest.approx(0.83, abs=0.015)
    assert {e.event.after for e in history.events()} == {"idle", "download", "stage"}
    database.close()


def test_drift_moves_inputs_answers_and_confidence() -> None:
    calm, moved = (
        SimulatedDevice(Scenario(), 1).speak(END_S, met)[-2].message.body.models[0]
        for met in (Conditions("camera/1"), Conditions("camera/1", drift_sd=2.0))
    )
    assert sum(moved.confidence[:14]) > 1.3 * sum(calm.confidence[:14])
    assert moved.features[0].counts[-1] > 3 * calm.features[0].counts[-1]
    assert moved.predicted.counts[0] > 1.5 * calm.predicted.counts[0]


def test_heat_throttles_and_slows() -> None:
    cool, hot = (
        SimulatedDevice(Scenario(), 0).speak(END_S, Conditions("camera/1", heat_c=heat_c))[-2].message.body
        for heat_c in (0.0, 30.0)
    )
    assert (cool.vitals.throttled_s, cool.vitals.throttled) == (0.0, 0)
    assert hot.vitals.temperature_c > 80 > cool.vitals.temperature_c
    assert hot.vitals.throttled_s > 0
    slow, fast = (quantile(t.models[0].latency_us, 0.5) for t in (hot, cool))
    assert slow and fast and slow > 1.5 * fast  # noqa: PT018  # None is as wrong


def test_lies_touch_nobody_else_and_are_counted(tmp_path: Path) -> None:
    scenario = Scenario(interval_s=120, phases=(Phase("lies", 0, 1000, 0.3),))
    honest = replace(scenario, phases=())
    liars = {n for n in range(20) if conditions(scenario, n, 5).lying}
    assert 0 < len(liars) < 20
    figures = []
    for folder, story in ((tmp_path / "a", scenario), (tmp_path / "b", honest)):
        database, history = _filled(folder, story, devices=20, hours=1)
        found = history.by_device("camera/1", END_S - 7200, END_S + 1)
        figures.append({d: c for d, c in found.items() if int(d.split("-")[1]) not in liars})
        complaints = FleetReader(database).complaints("refusal")
        total = history.total("camera/1").counters
        database.close()
        if story is scenario:
            assert {int(d.split("-")[1]) for d in complaints} == liars
            assert total.inferences < 20 * 300 * 3600 / 2
    assert figures[0] == figures[1]


@pytest.mark.parametrize("number", range(10))
def test_every_lie_fits_a_message_and_is_refused_or_taken_as_its_own(number: int) -> None:
    report = SimulatedDevice(Scenario(), 3).speak(END_S, Conditions("camera/1"))[-2].message
    assert isinstance(report, TelemetryReport)
    payload = lie(number, report)
    assert len(payload) < MAX_PAYLOAD_BYTES
    try:
        word = understand(Incoming("edgeflock/d/sim-00003/telemetry", payload), Topics(), decode)
    except MessageError:
        return
    assert isinstance(word, Arrival | Refusal)
    assert word.device == "sim-00003"


def test_phases_meet_the_same_devices_each_time_and_in_their_share() -> None:
    scenario = Scenario(phases=(Phase("drift", 10, 20, 0.25, 1.0),))
    met = [
        {n for n in range(1000) if conditions(scenario, n, minute).drift_sd} for minute in (9, 10, 29.9, 30)
    ]
    assert met[0] == met[3] == set()
    assert met[1] == met[2]
    assert 200 < len(met[1]) < 300


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"speed": 1}, "'speed' is none of"),
        ({"rate_hz": "fast"}, "rate_hz = 'fast' is no float"),
        ({"accuracy": 2.0}, "accuracy is 0 to 1"),
        ({"sites": "north"}, "list of texts"),
        ({"phase": {"kind": "heat"}}, r"\[\[phase\]\]"),
        ({"phase": [{"kind": "rain"}]}, "phase 1: kind is one of"),
        ({"phase": [{"kind": "heat", "share": 2}]}, "phase 1: share"),
        ({"phase": [{"kind": "heat"}, {"kind": "rollout"}]}, "phase 2: a rollout names its release"),
        ({"phase": [{"kind": "heat", "from_min": -1}]}, "phase 1: from_min"),
        ({"classes": True}, "classes = True is no int"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_its_place(table: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse(table)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("seed = ")
    with pytest.raises(SettingsError, match=r"bad\.toml: "):
        load(tmp_path / "bad.toml")
