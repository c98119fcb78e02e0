"""A removed device leaves nothing but its part of the fleet's sums, here and on the broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.database import Database
from fleet.adapters.history import History
from fleet.adapters.registry import Registry
from fleet.adapters.removal import Removal
from fleet.simulation.filling import fill
from fleet.simulation.scenario import Phase, Scenario
from tests.fleet.test_server import TOPICS, Fleet
from tests.support.examples import counters, report, telemetry
from wire.adapters.files import only_owner
from wire.messages import Online, Reported


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.database.close()


def _named(database: Database, device: str) -> list[str]:
    """Return the tables in which a text is a device's name."""
    tables = database.sql.execute("select name from sqlite_master where type = 'table'").fetchall()
    columns = [
        (table, column[1])
        for (table,) in tables
        for column in database.sql.execute(f'pragma table_info("{table}")').fetchall()
    ]
    look = 'select 1 from "{}" where "{}" = ? limit 1'
    return [
        table for table, c in columns if database.sql.execute(look.format(table, c), (device,)).fetchone()
    ]


def test_nothing_of_it_is_left_but_the_fleets_sums(tmp_path: Path) -> None:
    database = Database(tmp_path).open()
    fill(database, Scenario(interval_s=120, phases=(Phase("lies", share=0.5),)), devices=4, hours=1)
    history = History(database)
    before, others = history.total("camera/1"), history.total("camera/1", "sim-00001")
    assert len(_named(database, "sim-00000")) > 5
    database.close()
    assert main(["fleet", "remove", "sim-00000", "--state", str(tmp_path), "--yes"]) == 0
    database = Database(tmp_path).open()
    # In `gone` until a server has told the broker; who removed it stays on record.
    assert sorted(_named(database, "sim-00000")) == ["audit", "gone"]
    history = History(database)
    assert history.total("camera/1") == before
    assert history.total("camera/1", "sim-00001") == others
    database.close()


def test_the_running_server_erases_it_and_clears_the_broker(fleet: Fleet) -> None:
    fleet.say("online", Online("b1", True))
    fleet.say("reported", Reported("b1", 1, 0.0, ()))
    fleet.say("telemetry", report(1, telemetry(counters(inferences=10))))
    assert sum("/d/pi-1/" in topic for topic in fleet.broker.retained) == 4
    database = Database(fleet.state).open()
    Removal(database).ask("pi-1")
    database.close()
    fleet.server._look_now()
    fleet.turn()
    assert [t for t in fleet.broker.retained if "/d/pi-1/" in t] == []
    assert _named(fleet.database, "pi-1") == []


def test_one_that_speaks_again_is_new(fleet: Fleet) -> None:
    fleet.say("telemetry", report(1, telemetry(counters(inferences=10))))
    Removal(fleet.database).ask("pi-1")
    fleet.server._look_now()
    fleet.turn()
    fleet.say("online", Online("b2", True))
    fleet.say("telemetry", report(1, telemetry(counters(inferences=3))))
    assert fleet.reader.rows()[0].inferences == 3
    assert Registry(fleet.database).members("all") == ["pi-1"]
    assert fleet.acked() is not None
    assert TOPICS.device("pi-1", "desired") in fleet.broker.retained


def test_one_that_comes_back_before_the_broker_was_told_keeps_its_messages(fleet: Fleet) -> None:
    fleet.say("telemetry", report(1, telemetry()))
    removal = Removal(fleet.database)
    removal.ask("pi-1")
    removal.erase("pi-1")
    fleet.server._store.forget("pi-1")
    fleet.say("telemetry", report(2, telemetry(), first=2))
    fleet.turn()
    assert removal.withdrawn() == []
    assert TOPICS.device("pi-1", "desired") in fleet.broker.retained


def test_it_asks_and_refuses_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(tmp_path).open()
    fill(database, Scenario(), devices=1, hours=0.05)
    database.close()
    assert main(["fleet", "remove", "pi-9", "--state", str(tmp_path), "--yes"]) == 2
    assert main(["fleet", "remove", "sim-00000", "--state", str(tmp_path)]) == 2
    assert "say --yes" in capsys.readouterr().err
    database = Database(tmp_path).open()
    assert "device" in _named(database, "sim-00000")
    database.close()


def test_a_server_that_does_not_answer_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path).open()
    fill(database, Scenario(), devices=1, hours=0.05)
    database.close()
    monkeypatch.setattr("fleet.store_cli._ERASE_S", 0.2)
    with only_owner(tmp_path / "lock", "server"):
        assert main(["fleet", "remove", "sim-00000", "--state", str(tmp_path), "--yes"]) == 1
    assert "has not removed sim-00000" in capsys.readouterr().err
