"""The schema is brought up to date without a loss, once, by whom it should be, and not past what we know."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from fleet import migrations
from fleet.accounting import Ledger
from fleet.adapters.database import Database
from fleet.adapters.earlier_reports import count_earlier_reports
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.migrations import newest
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Arrival
from tests.support.examples import counters, telemetry
from tests.support.old_database import HOUR_S, make_old_database
from wire.errors import UnavailableError
from wire.messages import Ack, Head, Mark


@pytest.fixture
def old(tmp_path: Path) -> Path:
    make_old_database(tmp_path / "fleet")
    return tmp_path / "fleet"


def test_nothing_is_lost_of_a_database_from_before_there_were_revisions(old: Path) -> None:
    database = Database(old).open()
    count_earlier_reports(database)
    reader = FleetReader(database)
    assert [r.device for r in reader.rows()] == ["pi-1"]
    total = reader.totals()["pi-1"]["digits/1"]
    assert (total.inferences, total.labelled, total.correct, total.latency_us.counts) == (
        300,
        300,
        270,
        (300,),
    )
    assert [e.after for _, e in reader.events("pi-1")] == ["check", "idle"]
    assert reader.refusals() == {"Telemetry": 3}
    assert Registry(database).members("all") == ["pi-1"]
    assert database.sql.execute("select release from sample").fetchall() == [("digits/1",)]
    database.close()


def test_earlier_reports_are_counted_in_their_hours_once(old: Path) -> None:
    database = Database(old).open()
    for _ in range(2):
        count_earlier_reports(database)
    rows = "select resolution_s, start_s, reports from rollup where scope = 'pi-1' order by resolution_s"
    day = HOUR_S // 86_400 * 86_400
    assert database.sql.execute(rows).fetchall() == [(0, 0, 0), (3600, HOUR_S, 30), (86_400, day, 30)]
    minutes = "select count(*), sum(reports) from rollup where scope = '' and resolution_s = 60"
    assert database.sql.execute(minutes).fetchone() == (30, 30)
    database.close()


def test_what_had_come_before_the_update_is_a_double_after_it(old: Path) -> None:
    database = Database(old).open()
    store = ReportStore(database).open()
    heads = [Head("b1", n, 1, HOUR_S + 60.0) for n in (5, 31, 30)]
    body = telemetry(counters(inferences=10, total=310))
    store.take([Arrival("pi-1", "telemetry", head, body) for head in heads])
    assert store.acks()["pi-1"].streams["telemetry"] == (Mark("b1", 31),)
    assert database.sql.execute("select count(*) from report").fetchone() == (31,)
    assert database.sql.execute("select count(*) from pending").fetchone() == (0,)
    assert FleetReader(database).totals()["pi-1"]["digits/1"].inferences == 310
    database.close()


def test_the_ledger_balances_after_the_update(old: Path) -> None:
    database = Database(old).open()
    ledger = FleetReader(database).ledger()
    assert ledger == Ledger(33, 300, ledger.problems)
    assert len(ledger.problems) == 3  # the gap, the inferences in it, and no final report: as before
    database.close()


def test_a_later_schema_is_refused_with_one_line(tmp_path: Path) -> None:
    Database(tmp_path).open().close()
    sql = sqlite3.connect(tmp_path / "fleet.db")
    sql.execute("update alembic_version set version_num = '9999'")
    sql.commit()
    sql.close()
    for create in (True, False):
        with pytest.raises(UnavailableError, match="later edgeflock"):
            Database(tmp_path).open(create=create)
    command = [sys.executable, "-m", "edgeflock", "fleet", "devices", "--state", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_who_only_reads_leaves_an_old_schema_to_the_server(old: Path) -> None:
    with pytest.raises(UnavailableError, match="fleet serve"):
        Database(old).open(create=False)
    Database(old).open().close()
    Database(old).open(create=False).close()


def test_who_only_reads_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    writer = Database(tmp_path).open()
    with writer.transaction():
        reader = Database(tmp_path).open(create=False)
        assert FleetReader(reader).rows() == []
        reader.close()
    writer.close()


def test_two_that_make_a_database_at_once_both_find_it_made(tmp_path: Path) -> None:
    code = "import pathlib, sys; from fleet.adapters.database import Database as D; "
    code += "D(pathlib.Path(sys.argv[1])).open()"
    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    Database(tmp_path).open(create=False).close()


def test_a_failing_update_leaves_what_was_there(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = sqlite3.connect(old / "fleet.db")
    sql.execute("create table rollup (a)")  # in the way
    sql.commit()
    with pytest.raises(UnavailableError, match="rollup already exists"):
        Database(old).open()
    assert sql.execute("select count(*) from report where stream = 'telemetry'").fetchone() == (30,)
    sql.execute("drop table rollup")
    sql.commit()
    sql.close()
    Database(old).open().close()


def test_the_newest_revision_is_alembics_only_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [newest()]


def test_an_ack_knows_what_came_above_a_gap_before_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path).open()
    store = ReportStore(database).open()
    body = telemetry()
    for numbers in ((1, 3, 5), (4,)):
        store.take([Arrival("pi-1", "telemetry", Head("b1", n, 1, 0.0), body) for n in numbers])
        store = ReportStore(database).open()
    taken = [Arrival("pi-1", "telemetry", Head("b1", n, 1, 0.0), body) for n in (3, 4, 5, 2)]
    store.take(taken)
    assert store.acks() == {"pi-1": Ack({"telemetry": (Mark("b1", 5),)})}
    assert database.sql.execute("select count(*) from report").fetchone() == (5,)
    database.close()
