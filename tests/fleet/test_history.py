"""What was stored is read back: each report in one slot of each kind, late ones in their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.history import History
from fleet.adapters.report_store import ReportStore
from fleet.adapters.rollup_table import MAX_RELEASES
from fleet.ingest import Arrival, Refusal
from fleet.keeping import KEEP_S
from fleet.spans import MAX_POINTS, Spread, length
from fleet.timing import DAY_S, HOUR_S
from tests.support.examples import VITALS, counters, telemetry
from wire.errors import MessageError
from wire.messages import Event, Head, Samples, Telemetry

#: A midnight, UTC.
DAY0_S = 1_796_000_000 // DAY_S * DAY_S


class Kept:
    """A store whose clock a test turns."""

    def __init__(self, folder: Path) -> None:
        self.now_s = float(DAY0_S)
        self.database = Database(folder).open()
        self.store = ReportStore(self.database, lambda: self.now_s).open()
        self.history = History(self.database, lambda: self.now_s)
        self._sequences: dict[tuple[str, str], int] = {}

    def say(
        self, at_s: float, body: object = None, *, device: str = "pi-1", stream: str = "telemetry"
    ) -> Arrival:
        """Hear a device say something at `at_s`, now if that is later."""
        key = (device, stream)
        self._sequences[key] = self._sequences.get(key, 0) + 1
        head = Head("b1", self._sequences[key], 1, at_s)
        word = Arrival(device, stream, head, body or telemetry())  # type: ignore[arg-type]
        self.now_s = max(self.now_s, at_s)
        self.store.take([word])
        return word

    def restart(self) -> None:
        self.store = ReportStore(self.database, lambda: self.now_s).open()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.database.close()


def _reports(slots: list[object]) -> dict[int, int]:
    return {slot.start_s - DAY0_S: slot.reports for slot in slots}  # type: ignore[attr-defined]


def test_reports_land_in_their_minutes_hours_and_days(kept: Kept) -> None:
    for minutes in (0, 1, 1.5, 59, 61, 24 * 60):
        kept.say(DAY0_S + 60 * minutes)
    end_s = DAY0_S + 2 * DAY_S
    fleet = kept.history.fleet("digits/1", DAY0_S, DAY0_S + DAY_S + 60, 60)
    assert _reports(fleet) == {0: 1, 60: 2, 3540: 1, 3660: 1, 86_400: 1}
    assert _reports(kept.history.fleet("digits/1", DAY0_S, end_s, 3600)) == {0: 4, 3600: 1, 86_400: 1}
    assert _reports(kept.history.fleet("digits/1", DAY0_S, end_s, 86_400)) == {0: 5, 86_400: 1}
    assert _reports(kept.history.device("pi-1", "digits/1", DAY0_S, end_s)) == {0: 4, 3600: 1, 86_400: 1}
    assert _reports(kept.history.device("pi-1", None, DAY0_S, DAY0_S + 7200)) == {
        0: 1,
        60: 2,
        3540: 1,
        3660: 1,
    }
    assert kept.history.total("digits/1").reports == kept.history.total("digits/1", "pi-1").reports == 6


@pytest.mark.parametrize("seed", range(4))
def test_late_and_reordered_reports_land_in_their_own_hour(kept: Kept, seed: int) -> None:
    """The same reports in any order, with restarts in between, make the same history."""
    rng = random.Random(seed)
    moments = [DAY0_S + 600.0 * n for n in range(150)]  # 25 hours
    kept.now_s = moments[-1]
    order = moments[:20] + rng.sample(moments[20:], len(moments) - 20)
    for n, at_s in enumerate(order):
        kept.say(at_s, telemetry(counters(inferences=int(at_s - DAY0_S) // 600 + 1, total=999)))
        if n % 40 == 7:
            kept.restart()
    until_s = DAY0_S + 2 * DAY_S
    for slots in (
        kept.history.device("pi-1", "digits/1", DAY0_S, until_s, HOUR_S),
        kept.history.fleet("digits/1", DAY0_S, until_s, HOUR_S),
    ):
        assert _reports(slots) == {3600 * h: 6 for h in range(25)}
        assert [s.counters.inferences for s in slots] == [sum(range(6 * h + 1, 6 * h + 7)) for h in range(25)]
    days = kept.history.fleet(None, DAY0_S, until_s, DAY_S)
    assert [(d.reports, d.counters.inferences) for d in days] == [(144, 144 * 145 // 2), (6, 885)]
    assert kept.history.total("digits/1", "pi-1").counters.inferences == 150 * 151 // 2
    assert FleetReader(kept.database).totals()["pi-1"]["digits/1"].inferences == 150 * 151 // 2


def test_a_wrong_clock_counts_at_the_time_of_arrival_and_is_flagged(kept: Kept) -> None:
    kept.say(DAY0_S + 10.0)
    for wrong_s in (12.0, 4_070_908_800.0):
        head = Head("b2", 1 if wrong_s < 100 else 2, 1, wrong_s)
        kept.now_s = DAY0_S + 4000.0
        kept.store.take([Arrival("pi-1", "telemetry", head, telemetry())])
    slots = kept.history.device("pi-1", "digits/1", DAY0_S, DAY0_S + DAY_S, HOUR_S)
    assert _reports(slots) == {0: 1, 3600: 2}
    assert FleetReader(kept.database).complaints("flag") == {"pi-1": {"clock-behind": 1, "clock-ahead": 1}}


def test_what_comes_after_its_hour_was_removed_is_in_the_day(kept: Kept) -> None:
    kept.now_s = DAY0_S + KEEP_S[HOUR_S] + 2.0 * DAY_S
    kept.say(DAY0_S + 100.0)
    assert kept.database.sql.execute(
        "select distinct resolution_s from rollup where scope <> ''"
    ).fetchall() == [
        (0,),
        (86_400,),
    ]
    assert _reports(kept.history.device("pi-1", None, DAY0_S, kept.now_s)) == {0: 1}


def test_sums_of_each_device_for_intervals_that_know_of_devices(kept: Kept) -> None:
    for hour in range(60):
        for device in ("pi-1", "pi-2"):
            kept.say(DAY0_S + 3600.0 * hour, telemetry(counters(inferences=hour, total=hour)), device=device)
    now_s = kept.now_s + 1
    found = kept.history.by_device("digits/1", now_s - 5 * HOUR_S, now_s)
    assert {d: c.inferences for d, c in found.items()} == dict.fromkeys(("pi-1", "pi-2"), sum(range(54, 60)))
    found = kept.history.by_device("digits/1", DAY0_S, now_s)
    assert {d: c.inferences for d, c in found.items()} == dict.fromkeys(("pi-1", "pi-2"), sum(range(60)))
    assert kept.history.by_device("digits/2", DAY0_S, now_s) == {}


def test_no_chart_has_more_points_than_it_can_take(kept: Kept) -> None:
    for n in range(3000):
        kept.now_s = DAY0_S + 10.0 * n
        kept.store.take([Arrival("pi-1", "telemetry", Head("b1", n + 1, 1, kept.now_s), telemetry())])
    end_s = kept.now_s + 1
    vitals = kept.history.vitals("pi-1", DAY0_S, end_s)
    assert len(vitals) <= MAX_POINTS
    assert sum(v.reports for v in vitals) == 3000
    few = kept.history.vitals("pi-1", DAY0_S, end_s, points=7)
    assert len(few) <= 7
    assert sum(v.reports for v in few) == 3000
    for since_s, until_s, step in ((0, 86_400 * 365, 60), (59, 120_001, 60), (0.5, 1.5, 60), (5, 5, 60)):
        seconds = length(since_s, until_s, step)
        assert seconds % step == 0
        assert (until_s - since_s) / seconds <= MAX_POINTS


def test_vitals_are_spreads_and_outlive_their_reports(kept: Kept) -> None:
    for n, (cpu, heat) in enumerate([(10.0, None), (30.0, 50.0), (20.0, 60.0)]):
        body = telemetry()
        kept.say(
            DAY0_S + 60.0 * n, replace(body, vitals=replace(VITALS, cpu_percent=cpu, temperature_c=heat))
        )
    kept.database.sql.execute("delete from report")
    kept.database.sql.execute("update mark set removed = 3")
    (hour,) = kept.history.vitals("pi-1", DAY0_S, DAY0_S + 3600)
    assert (hour.seconds, hour.reports, hour.cpu_percent) == (3600, 3, Spread(10.0, 20.0, 30.0))
    assert (hour.temperature_c, hour.throttled_s) == (Spread(50.0, 55.0, 60.0), None)
    (same,) = kept.history.device("pi-1", None, DAY0_S, DAY0_S + 3600)
    assert (same.seconds, same.reports) == (3600, 3)


def test_events_and_samples_come_by_the_page(kept: Kept) -> None:
    for n in range(5):
        kept.say(
            DAY0_S + n, Event("digits", "idle", "check", f"cause-{n}"), stream="event", device=f"pi-{n % 2}"
        )
        said = Samples(
            f"digits/{n % 2}",
            0.1,
            (f"a{n}", f"b{n}"),
            (3, 4),
            (0.9, None),
            (None, 4),
            policies=("uniform", "class"),
        )
        kept.say(DAY0_S + n, said, stream="samples")
    history = kept.history
    assert [e.event.cause for e in history.events(limit=3)] == ["cause-4", "cause-3", "cause-2"]
    older = history.events(limit=3, before=history.events(limit=3)[-1].number)
    assert [e.event.cause for e in older] == ["cause-1", "cause-0"]
    assert [e.event.cause for e in history.events("pi-1")] == ["cause-3", "cause-1"]
    assert [s.id for s in history.samples("digits/1")] == ["a3", "b3", "a1", "b1"]
    assert [(s.id, s.truth) for s in history.samples(policy="class", limit=2)] == [("b4", 4), ("b3", 4)]
    assert history.samples(before=history.samples("digits/1")[-1].number, limit=1)[0].id == "a0"


def test_a_device_that_invents_releases_is_stopped_and_flagged(kept: Kept) -> None:
    for n in range(MAX_RELEASES + 6):
        kept.say(DAY0_S + n, telemetry(counters(f"invented/{n}")))
        if n % 20 == 0:
            kept.restart()
    assert len(kept.history.releases()) == MAX_RELEASES
    assert FleetReader(kept.database).complaints("flag") == {"pi-1": {"releases": 6}}
    assert kept.store.acks()["pi-1"].streams["telemetry"][0].sequence == MAX_RELEASES + 6


def test_invented_releases_of_long_ago_are_stopped_as_well(kept: Kept) -> None:
    kept.now_s = DAY0_S + 100.0 * DAY_S
    words = [
        Arrival("pi-1", "telemetry", Head("b1", n + 1, 1, DAY0_S + 60.0 * n), telemetry(counters(f"old/{n}")))
        for n in range(MAX_RELEASES + 6)
    ]
    kept.store.take(words[:50])
    kept.store.take(words[50:])
    assert len(kept.history.releases()) == MAX_RELEASES


def test_a_batch_that_fails_leaves_no_trace_in_the_sums(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.say(DAY0_S)
    word = Arrival("pi-1", "telemetry", Head("b1", 2, 1, DAY0_S + 1.0), telemetry())
    with monkeypatch.context() as broken:
        broken.setattr(kept.store._device_sums._vitals, "flush", lambda: 1 / 0)  # after the sums were written
        with pytest.raises(ZeroDivisionError):
            kept.store.take([word])
    assert kept.history.total("digits/1").reports == 1
    kept.store.take([word])
    kept.store.take([word])
    assert kept.history.total("digits/1").reports == 2
    (hour,) = kept.history.vitals("pi-1", DAY0_S, DAY0_S + 3600, points=1)
    assert hour.reports == 2


def test_what_a_batch_that_fails_complains_of_is_counted_and_told_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.store.count_refusal("topic")  # before the batch, and so not a part of it
    words = [
        Arrival("pi-1", "telemetry", Head("b1", 1, 1, 12.0), telemetry()),
        Refusal("pi-1", "telemetry", Head("b1", 2, 1, DAY0_S), MessageError("Telemetry", "cannot be")),
    ]
    with monkeypatch.context() as broken:
        broken.setattr(kept.store._device_sums._vitals, "flush", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kept.store.take(words)
    assert [error.kind for error in kept.store.take(words).refused] == ["Telemetry"]
    reader = FleetReader(kept.database)
    assert reader.complaints("flag") == {"pi-1": {"clock-behind": 1}}
    assert reader.complaints("refusal") == {"": {"topic": 1}, "pi-1": {"Telemetry": 1}}


def test_a_report_of_two_models_counts_for_both(kept: Kept) -> None:
    body: Telemetry = telemetry(counters("a/1"), counters("b/1"))
    kept.say(DAY0_S, body)
    assert kept.history.releases() == ["a/1", "b/1"]
    (both,) = kept.history.fleet(None, DAY0_S, DAY0_S + 60)
    assert (both.reports, both.counters.inferences, both.counters.release) == (2, 20, "")
