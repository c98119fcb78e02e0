"""What is old leaves in small steps; what it said stays in the sums, and the ledger still balances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.history import History
from fleet.adapters.report_store import ReportStore
from fleet.adapters.retention import Retention
from fleet.ingest import Arrival
from fleet.keeping import KEEP_S, Keep
from fleet.timing import DAY_S, HOUR_S, MINUTE_S
from tests.support.examples import counters, telemetry
from wire.messages import Event, Head, Mark, Samples

DAY0_S = 1_796_000_000 // DAY_S * DAY_S
KEEP = Keep(raw_s=3 * HOUR_S, events_of_device=2)


class Aged:
    """A store with an hourly report for `days` days, an event a day and a sample a day."""

    def __init__(self, folder: Path) -> None:
        self.now_s = float(DAY0_S)
        self.database = Database(folder).open()
        self.store = ReportStore(self.database, lambda: self.now_s).open()
        self.history = History(self.database, lambda: self.now_s)
        self.retention = Retention(self.database, KEEP, lambda: self.now_s)
        self.told = 0

    def live(self, hours: int) -> None:
        for _ in range(hours):
            self.told += 1
            self.now_s += HOUR_S
            words = [
                Arrival(
                    "pi-1", "telemetry", Head("b1", self.told, 1, self.now_s),
                    telemetry(counters(inferences=10, total=10 * self.told)),
                )
            ]  # fmt: skip
            if self.told % 24 == 0:
                head = Head("b1", self.told // 24, 1, self.now_s)
                words.append(Arrival("pi-1", "event", head, Event("digits", "idle", "check", "plan")))
                said = Samples("digits/1", 0.1, ("a",), (3,), (0.9,), (None,))
                words.append(Arrival("pi-1", "samples", head, said))
            self.store.take(words)

    def sweep(self) -> None:
        while self.retention.step():
            pass

    def rows(self, table: str) -> int:
        (n,) = self.database.sql.execute(f"select count(*) from {table}").fetchone()
        return int(n)


@pytest.fixture
def aged(tmp_path: Path) -> Iterator[Aged]:
    aged = Aged(tmp_path)
    yield aged
    aged.database.close()


def test_raw_reports_go_and_their_sums_stay(aged: Aged) -> None:
    aged.live(48)
    before = aged.history.device("pi-1", None, DAY0_S, aged.now_s + 1, HOUR_S)
    aged.sweep()
    assert aged.rows("report") == 4
    assert aged.history.device("pi-1", None, DAY0_S, aged.now_s + 1, HOUR_S) == before
    assert FleetReader(aged.database).totals()["pi-1"]["digits/1"].inferences == 480


def test_the_ledger_says_over_what_it_counts_and_balances(aged: Aged) -> None:
    aged.live(48)
    aged.sweep()
    ledger = FleetReader(aged.database).ledger()
    assert (ledger.messages, ledger.removed, ledger.inferences) == (52, 44, 40)
    assert ledger.problems == ("pi-1: no final report",)


def test_a_removed_report_is_still_a_double(aged: Aged) -> None:
    aged.live(10)
    aged.sweep()
    aged.store = ReportStore(aged.database, lambda: aged.now_s).open()
    aged.store.take([Arrival("pi-1", "telemetry", Head("b1", 1, 1, DAY0_S), telemetry())])
    assert FleetReader(aged.database).totals()["pi-1"]["digits/1"].inferences == 100
    assert aged.store.acks()["pi-1"].streams["telemetry"] == (Mark("b1", 10),)


def test_a_report_above_a_gap_is_remembered_after_it_was_removed(aged: Aged) -> None:
    aged.live(1)
    aged.store.take([Arrival("pi-1", "telemetry", Head("b1", 3, 1, aged.now_s), telemetry())])
    aged.now_s += 10 * HOUR_S
    aged.sweep()
    assert aged.rows("report") == 0
    aged.store = ReportStore(aged.database, lambda: aged.now_s).open()
    words = [Arrival("pi-1", "telemetry", Head("b1", n, 1, aged.now_s), telemetry()) for n in (3, 2)]
    aged.store.take(words)
    assert aged.store.acks()["pi-1"].streams["telemetry"] == (Mark("b1", 3),)
    assert FleetReader(aged.database).totals()["pi-1"]["digits/1"].inferences == 30


def test_the_last_events_of_a_device_stay_however_old(aged: Aged) -> None:
    aged.live(5 * 24)
    aged.now_s += 100 * DAY_S
    aged.sweep()
    assert [e.at_s for e in aged.history.events()] == [DAY0_S + 5 * DAY_S, DAY0_S + 4 * DAY_S]
    assert aged.rows("sample") == 0
    assert FleetReader(aged.database).ledger().removed == 120 + 3 + 5


def test_sums_become_coarser_and_none_is_lost(aged: Aged) -> None:
    aged.live(40 * 24)
    aged.sweep()
    for resolution_s in (MINUTE_S, HOUR_S):
        scope = "scope = ''" if resolution_s == MINUTE_S else "scope <> ''"
        oldest = f"select min(start_s) from rollup where {scope} and resolution_s = {resolution_s}"
        (found,) = aged.database.sql.execute(oldest).fetchone()
        assert aged.now_s - found <= KEEP_S[resolution_s] + DAY_S + HOUR_S
    for slots in (
        aged.history.fleet("digits/1", DAY0_S, aged.now_s + 1, MINUTE_S),
        aged.history.device("pi-1", "digits/1", DAY0_S, aged.now_s + 1),
    ):
        assert sum(s.reports for s in slots) == 960
    assert aged.history.by_device("digits/1", DAY0_S, aged.now_s + 1)["pi-1"].inferences == 9600


def test_pages_are_given_back(aged: Aged) -> None:
    aged.live(24 * 60)
    with aged.database.transaction() as sql:
        sql.execute("create table heap as select randomblob(4000) as x from rollup limit 2500")
        sql.execute("drop table heap")
    (before,) = aged.database.sql.execute("pragma page_count").fetchone()
    aged.sweep()
    (after,) = aged.database.sql.execute("pragma page_count").fetchone()
    assert after < before - 1000


def test_a_round_does_a_little_at_a_time(aged: Aged) -> None:
    aged.now_s = float(DAY0_S)
    words = [Arrival("pi-1", "telemetry", Head("b1", n, 1, DAY0_S), telemetry()) for n in range(1, 2501)]
    aged.store.take(words)
    aged.now_s += DAY_S
    left = []
    while aged.retention.step():
        left.append(aged.rows("report"))
    assert left[:3] == [1500, 500, 0]
