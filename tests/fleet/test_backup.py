"""A backup is one moment of a running fleet, tells what is in it, and comes back whole or not at all."""

from __future__ import annotations

import io
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.backup_file import back_up, restore
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.ingest import Arrival
from fleet.simulation.filling import fill
from fleet.simulation.scenario import Scenario
from tests.support.examples import counters, telemetry
from tests.support.shelf import make_goods
from wire.errors import DataError, SettingsError, UnavailableError
from wire.messages import Head


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet with certificates, keys, a release and reports."""
    state = tmp_path / "fleet"
    assert main(["fleet", "init", "--state", str(state), "--host", "localhost"]) == 0
    database = Database(state).open()
    Registry(database).open().add_release(make_goods(1).built)
    fill(database, Scenario(), devices=3, hours=0.2)
    database.close()
    return state


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_fleet_comes_back_as_it_was(state: Path, tmp_path: Path) -> None:
    made = back_up(state, tmp_path / "b.tar", keys=True)
    assert (made.devices, made.releases, made.reports) == (3, 1, 36)
    assert stat.S_IMODE((tmp_path / "b.tar").stat().st_mode) == 0o600
    other = tmp_path / "other" / "fleet"
    assert restore(tmp_path / "b.tar", other) == made
    before, after = _files(state), _files(other)
    assert before.keys() - after.keys() <= {"fleet.db-wal", "fleet.db-shm", "lock"}
    for name in set(after) - {"fleet.db", "broker/mosquitto.conf", "broker/claims.conf"}:
        assert before[name] == after[name], name
    assert str(other / "broker") in after["broker/mosquitto.conf"].decode()
    assert str(state) not in after["broker/mosquitto.conf"].decode()
    databases = [Database(folder).open(create=False) for folder in (state, other)]
    ledgers = [FleetReader(database).ledger() for database in databases]
    assert ledgers[0] == ledgers[1]
    for database in databases:
        database.close()


def test_private_keys_are_in_it_on_demand_only(state: Path, tmp_path: Path) -> None:
    back_up(state, tmp_path / "b.tar", keys=False)
    restore(tmp_path / "b.tar", tmp_path / "other")
    data = (tmp_path / "b.tar").read_bytes()
    for path in [*state.rglob("*.key"), *state.rglob("keys/*/*.pem"), state / "broker" / "fleet-server.pem"]:
        assert path.read_bytes() not in data, path
        assert not (tmp_path / "other" / path.relative_to(state)).exists()


def test_a_backup_under_writing_is_one_moment(state: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        database = Database(state).open()
        store = ReportStore(database).open()
        n = 0
        while not stop.is_set():
            n += 1
            body = telemetry(counters(inferences=10, total=10 * n), final=True)
            store.take([Arrival("pi-1", "telemetry", Head("b1", n, 1, 1_796_000_000.0), body)])
        database.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(3):
            back_up(state, tmp_path / f"{n}.tar", keys=False)
    finally:
        stop.set()
        writer.join()
    for n in range(3):
        restore(tmp_path / f"{n}.tar", tmp_path / str(n))
        database = Database(tmp_path / str(n)).open(create=False)
        reader = FleetReader(database)
        assert reader.ledger().problems == ()
        total = sum(t.inferences for releases in reader.totals().values() for t in releases.values())
        assert total == reader.ledger().inferences
        database.close()


@pytest.mark.parametrize("at", [0.001, 0.3, 0.6, 0.9])
def test_a_damaged_or_cut_backup_is_refused_and_leaves_nothing(
    state: Path, tmp_path: Path, at: float
) -> None:
    back_up(state, tmp_path / "b.tar", keys=False)
    whole = (tmp_path / "b.tar").read_bytes()
    place = int(len(whole) * at)
    flipped = whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
    for data in (whole[:place], b"", b"no tar", flipped):
        (tmp_path / "bad.tar").write_bytes(data)
        try:
            restore(tmp_path / "bad.tar", tmp_path / "other")
        except DataError:
            assert not (tmp_path / "other").exists()
        else:  # the flip hit what is between the files
            Database(tmp_path / "other").open(create=False).close()
            break
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_file_that_names_places_outside_is_refused(state: Path, tmp_path: Path) -> None:
    back_up(state, tmp_path / "b.tar", keys=False)
    with tarfile.open(tmp_path / "b.tar") as tar:
        listing = tar.extractfile("edgeflock-backup.json").read()  # type: ignore[union-attr]
        with tarfile.open(tmp_path / "bad.tar", "w") as bad:
            for entry in tar.getmembers():
                data = tar.extractfile(entry).read()  # type: ignore[union-attr]
                if entry.name == "edgeflock-backup.json":
                    data = listing.replace(b"root.json", b"../../x.y")
                entry.name, entry.size = entry.name.replace("root.json", "../../x.y"), len(data)
                bad.addfile(entry, io.BytesIO(data))
    with pytest.raises(DataError, match=r"x\.y' is nothing of a fleet's"):
        restore(tmp_path / "bad.tar", tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.rglob("x.y"))


def test_nothing_that_is_there_is_overwritten(state: Path, tmp_path: Path) -> None:
    back_up(state, tmp_path / "b.tar", keys=False)
    with pytest.raises(SettingsError, match="is there already"):
        back_up(state, tmp_path / "b.tar", keys=False)
    with pytest.raises(SettingsError, match="not empty"):
        restore(tmp_path / "b.tar", state)
    with pytest.raises(UnavailableError, match="no fleet in"):
        back_up(tmp_path / "nowhere", tmp_path / "c.tar", keys=False)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "b.tar", tmp_path / "empty")


def test_the_commands_tell_what_is_in_it(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["fleet", "backup", str(tmp_path / "b.tar"), "--state", str(state)]) == 0
    told = capsys.readouterr().out
    assert "3 devices, 1 releases, 36 reports" in told
    assert "without private keys" in told
    assert main(["fleet", "restore", str(tmp_path / "b.tar"), "--state", str(tmp_path / "n")]) == 0
    assert "bring the private keys to" in capsys.readouterr().out
