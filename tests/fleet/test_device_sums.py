"""Sums of devices may run some reports behind, and come to the same after kills and failures."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.database import Database, StoreError
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.history import History
from fleet.adapters.removal import Removal
from fleet.adapters.report_store import ReportStore
from fleet.adapters.retention import Retention
from fleet.adapters.rollup_table import MAX_RELEASES
from fleet.ingest import Arrival
from fleet.keeping import Keep
from fleet.timing import HOUR_S
from tests.support.examples import VITALS, counters, telemetry
from wire.deadline import Deadline, wait_until
from wire.messages import Ack, Head, Mark, Telemetry

NOW_S = 1_796_000_000.0
DEVICES = [f"pi-{n}" for n in range(7)]


class Behind:
    """A store that always lets sums wait, and a reader of what it holds."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder).open()
        self.history = History(self.database, lambda: NOW_S + 60)
        self.restart()

    def restart(self) -> None:
        """Begin as a server does that was killed."""
        self.store = ReportStore(self.database, lambda: NOW_S).open()

    def say(
        self, sequence: int, body: Telemetry | None = None, device: str = "pi-1", at_s: float = NOW_S
    ) -> None:
        head = Head("b1", sequence, 1, at_s)
        self.store.take([Arrival(device, "telemetry", head, body or telemetry())], later=True)

    def catch_up(self) -> None:
        """Have the turns of a quiet server."""
        while self.store.behind:
            self.store.take(())

    @property
    def waiting(self) -> int:
        return int(self.database.sql.execute("select count(*) from unsummed").fetchone()[0])

    @property
    def summed(self) -> int:
        """How many answers are in the sums of devices."""
        totals = FleetReader(self.database).totals().values()
        return sum(total.inferences for releases in totals for total in releases.values())


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    behind = Behind(tmp_path / "fleet")
    yield behind
    behind.database.close()


def test_what_is_told_of_a_device_holds_what_waits(behind: Behind) -> None:
    behind.say(2)  # pi-1 has its turn with the first
    assert (behind.waiting, behind.summed) == (1, 0)
    for total in (behind.history.total("digits/1", "pi-1"), behind.history.total("digits/1")):
        assert (total.reports, total.counters.inferences) == (1, 10)
    for release in ("digits/1", None):
        (hour,) = behind.history.device("pi-1", release, NOW_S - HOUR_S, NOW_S + 1, HOUR_S)
        assert (hour.reports, hour.counters.inferences) == (1, 10)
    behind.catch_up()
    assert (behind.waiting, behind.summed) == (0, 10)
    assert behind.history.total("digits/1", "pi-1").reports == 1


def test_sums_past_64_bits_are_told(behind: Behind) -> None:
    behind.say(1)
    behind.catch_up()
    (body,) = behind.database.sql.execute("select body from rollup where scope = 'pi-1'").fetchone()
    large = body.replace(b'"labelled":', b'"labelled":%d, "was":' % 2**70, 1)
    behind.database.sql.execute("update rollup set body = ? where scope = 'pi-1'", (large,))
    assert FleetReader(behind.database).totals()["pi-1"]["digits/1"].labelled == 2**70


def test_few_reports_of_a_device_wait_at_a_time(behind: Behind) -> None:
    waited = []
    for sequence in range(1, 31):
        behind.say(sequence)
        waited.append(behind.waiting)
    assert max(waited) == 4
    assert behind.summed == 10 * (30 - behind.waiting)


def test_who_falls_silent_does_not_wait_for_long(behind: Behind) -> None:
    behind.say(1, device="pi-2")
    behind.say(1, device="pi-3")
    assert behind.waiting == 2
    behind.store._wall_clock = lambda: NOW_S + 700
    behind.say(1, device="pi-5")
    assert behind.waiting <= 1


@pytest.mark.parametrize("seed", range(3))
def test_late_sums_are_those_that_were_made_at_once(behind: Behind, tmp_path: Path, seed: int) -> None:
    """Restarts, failed batches and quiet turns in between, reports of many hours in any order."""
    rng = random.Random(seed)
    words = [
        Arrival(
            device, "telemetry", Head("b1", n + 1, 1, NOW_S - 1800.0 * rng.randrange(60)),
            telemetry(counters(inferences=rng.randrange(1, 50), total=9999), counters("ants/1")),
        )
        for device in DEVICES for n in range(40)
    ]  # fmt: skip
    rng.shuffle(words)
    for at in range(0, len(words), 8):
        batch = words[at : at + 8]
        match rng.randrange(6):
            case 0:
                behind.restart()
            case 1:
                behind.store.take(())
            case 2:
                with pytest.MonkeyPatch.context() as broken:
                    broken.setattr(behind.store._complaints, "flush", lambda: 1 / 0)
                    with pytest.raises(ZeroDivisionError):
                        behind.store.take(batch, later=True)
        behind.store.take(batch, later=rng.random() < 0.8)
    behind.restart()
    behind.catch_up()
    at_once = Behind(tmp_path / "at-once")
    at_once.store.take(words)
    assert _all(behind) == _all(at_once)
    at_once.database.close()


def test_a_disk_that_can_be_neither_written_nor_read_for_a_while_makes_no_sum_twice(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    behind.say(1)
    monkeypatch.setattr(behind.store._marks, "read", broken)
    monkeypatch.setattr(behind.store._complaints, "flush", broken)
    for _ in range(2):
        with pytest.raises((StoreError, sqlite3.Error)):
            behind.say(2)
        assert behind.store.acks() == {}
    monkeypatch.undo()
    behind.say(2)
    behind.catch_up()
    assert behind.store.acks() == {"pi-1": Ack({"telemetry": (Mark("b1", 2),)})}
    assert behind.summed == 20
    assert behind.history.total("digits/1").counters.inferences == 20


def _all(store: Behind) -> Any:
    """Return all that is told of devices and of the fleet."""
    since_s, until_s = NOW_S - 40 * HOUR_S, NOW_S + 1
    rows = store.database.sql.execute("select * from vitals order by device, start_s").fetchall()
    vitals = [[round(v, 6) if isinstance(v, float) else v for v in row] for row in rows]
    sums = [
        (
            store.history.total(release, device),
            store.history.device(device, release, since_s, until_s, HOUR_S),
        )
        for device in DEVICES
        for release in ("digits/1", "ants/1")
    ]
    return sums, vitals, store.history.fleet("digits/1", since_s, until_s, HOUR_S)


def test_what_is_to_stay_out_of_the_sums_stays_out_of_late_ones(behind: Behind) -> None:
    sick = replace(telemetry(), vitals=replace(VITALS, cpu_percent=-5.0))
    behind.say(1, sick)
    for sequence in range(2, 2 + MAX_RELEASES // 2):
        behind.say(sequence, telemetry(counters(f"a/{sequence}"), counters(f"b/{sequence}")))
    behind.restart()  # it knows of the last ones by what waits alone
    assert behind.waiting
    behind.say(90, telemetry(counters("one/too-many"), counters()))
    assert behind.history.total("one/too-many", "pi-1").reports == 0
    behind.restart()
    behind.catch_up()
    releases = FleetReader(behind.database).totals()["pi-1"]
    assert len(releases) == MAX_RELEASES
    assert "one/too-many" not in releases
    found = behind.database.sql.execute("select sum(cpu_n), min(cpu_low) from vitals").fetchone()
    assert found == (MAX_RELEASES // 2 + 1, VITALS.cpu_percent)


def test_a_release_that_was_left_out_is_so_after_a_restart(behind: Behind) -> None:
    for sequence in range(1, 1 + MAX_RELEASES // 2):
        behind.say(sequence, telemetry(counters(f"a/{sequence}"), counters(f"b/{sequence}")))
    behind.say(90, telemetry(counters("one/too-many")))
    assert behind.waiting
    behind.restart()
    behind.say(91, telemetry(counters("one/too-many")))
    behind.catch_up()
    assert len(FleetReader(behind.database).totals()["pi-1"]) == MAX_RELEASES


def test_a_clock_that_was_put_back_keeps_no_report_waiting(behind: Behind) -> None:
    behind.say(2)
    behind.store._wall_clock = lambda: NOW_S - 3600
    behind.store.take(())
    assert behind.waiting == 0


def test_a_report_that_waits_is_not_removed(behind: Behind) -> None:
    for sequence in range(1, 4):
        behind.say(sequence, device="pi-3")
    retention = Retention(behind.database, Keep(raw_s=1.0), wall_clock=lambda: NOW_S + 3600)
    while retention.step():
        pass
    assert behind.waiting == 3
    assert behind.database.sql.execute("select count(*) from report").fetchone() == (3,)
    behind.catch_up()
    while retention.step():
        pass
    assert behind.database.sql.execute("select count(*) from report").fetchone() == (0,)
    assert behind.summed == 30


def test_a_removed_device_leaves_nothing_that_waits(behind: Behind) -> None:
    behind.say(2)
    Removal(behind.database).erase("pi-1")
    behind.store.forget("pi-1")
    behind.catch_up()
    assert behind.waiting == 0
    behind.say(1)
    behind.catch_up()
    assert behind.summed == 10


_TALK = """
import sys, time
from pathlib import Path
from fleet.adapters.database import Database, StoreError
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Arrival
from tests.support.examples import telemetry
from wire.messages import Head
store = ReportStore(Database(Path(sys.argv[1])).open()).open()
for sequence in range(int(sys.argv[2]), 10**6):
    head = Head("b1", sequence, 1, time.time())
    store.take([Arrival(f"pi-{n}", "telemetry", head, telemetry()) for n in range(40)], later=True)
"""


def test_a_killed_server_loses_no_sum_and_makes_none_twice(behind: Behind) -> None:
    folder, sql = behind.database.state, behind.database.sql
    rng = random.Random(5)
    for _ in range(4):
        (begin,) = sql.execute("select coalesce(max(sequence), 0) from report").fetchone()
        talker = subprocess.Popen([sys.executable, "-c", _TALK, str(folder), str(begin + 1)])
        enough = begin + rng.randrange(5, 30)
        assert wait_until(
            lambda enough=enough: (
                sql.execute("select coalesce(max(sequence), 0) from report").fetchone()[0] >= enough
            ),
            Deadline.after(60),
        )
        talker.send_signal(signal.SIGKILL)
        talker.wait()
        (reports,) = sql.execute("select count(*) from report").fetchone()
        assert behind.summed == 10 * (reports - behind.waiting)
    behind.restart()
    behind.catch_up()
    assert behind.waiting == 0
    assert behind.summed == 10 * reports
    assert sum(behind.history.total("digits/1", f"pi-{n}").reports for n in range(40)) == reports
