"""`fleet init` that is interrupted anywhere, and run again: real keys, real files."""

from __future__ import annotations

import argparse
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet import init_cli, initialising
from fleet.adapters import broker_files, pki
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.database import Database, StoreError
from fleet.adapters.key_files import make_key, offline_folder
from fleet.initialising import has_keys, open_signing, root_file
from wire.errors import SettingsError


class PowerCutError(Exception):
    pass


def init(state: Path, *, plain: bool = False) -> None:
    arguments = argparse.Namespace(
        state=state,
        plain=plain,
        renew=False,
        host=["hub.local"],
        bind="",
        home_assistant=None,
        prefix="edgeflock",
        port=8883,
        claim_port=8884,
    )
    assert init_cli._run(arguments) == 0


def failing_at(turn: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return `real`, but the power goes at its call number `turn`."""
    calls = iter(range(100))

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == turn:
            raise PowerCutError
        return real(*arguments, **options)

    return call


def check_whole(state: Path) -> None:
    """Fail unless a server could be started with what is there."""
    files = BrokerFiles(state)
    assert files.plan().hosts[0] == "hub.local"
    files.authority()
    pki.Authority.load(files.broker_ca.read_bytes(), (files.folder / "broker-ca.key").read_bytes())
    database = Database(state).open()
    try:
        signing = open_signing(database)
        signing.root()
        assert signing.targets() is not None
        signing.sealer()
        assert {"root", "targets", "snapshot", "timestamp"} <= set(signing._store.roles())
        assert root_file(state).read_bytes() == signing._store.latest_bytes("root")
    finally:
        database.close()


@pytest.mark.parametrize("turn", range(14))
def test_a_cut_in_the_brokers_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(broker_files, "write_atomic", failing_at(turn, broker_files.write_atomic))
        with pytest.raises(PowerCutError):
            init(tmp_path)
    authorities = {p: p.read_bytes() for p in (tmp_path / "broker").glob("*-ca.pem")}
    init(tmp_path)
    check_whole(tmp_path)
    assert {p: p.read_bytes() for p in authorities} == authorities, "what devices may trust stays"


@pytest.mark.parametrize(
    ("name", "turn"),
    [*(("make_key", turn) for turn in range(7)), ("_sign_first", 0), ("write_root", 0)],
)
def test_a_cut_in_the_keys_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, turn: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(initialising, name, failing_at(turn, getattr(initialising, name)))
        with pytest.raises(PowerCutError):
            init(tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "broker").iterdir()}
    init(tmp_path)
    check_whole(tmp_path)
    assert {p: p.read_bytes() for p in before} == before


def test_a_cut_between_the_two_signatures_leaves_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(initialising.MetadataStore, "add", failing_at(1, initialising.MetadataStore.add))
        with pytest.raises(PowerCutError):
            init(tmp_path, plain=True)
    assert not has_keys(tmp_path)
    init(tmp_path)
    check_whole(tmp_path)


def test_a_key_that_nothing_names_is_named_and_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = make_key(offline_folder(tmp_path), "root")
    stray = path.read_bytes()
    init(tmp_path)
    check_whole(tmp_path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not used")]
    assert line.endswith(": keys/offline/root-1.pem")
    assert path.read_bytes() == stray


@pytest.mark.parametrize("plain", [True, False])
def test_nothing_missing_is_nothing_to_do(tmp_path: Path, plain: bool) -> None:
    init(tmp_path)
    before = {
        p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith("fleet.db")
    }
    with pytest.raises(SettingsError, match="nothing was written"):
        init(tmp_path, plain=plain)
    assert {p: p.read_bytes() for p in before} == before


def test_certificates_come_to_the_keys_of_an_earlier_plain_fleet(tmp_path: Path) -> None:
    init(tmp_path, plain=True)
    root = root_file(tmp_path).read_bytes()
    init(tmp_path)
    check_whole(tmp_path)
    assert root_file(tmp_path).read_bytes() == root


def test_a_ca_whose_key_was_taken_away_is_not_made_anew(tmp_path: Path) -> None:
    init(tmp_path)
    folder = tmp_path / "broker"
    (folder / "broker.json").unlink()
    (folder / "broker-ca.key").unlink()
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(SettingsError, match=r"without broker-ca\.key"):
        init(tmp_path)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


# --- who may read it ------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def database_modes(state: Path) -> dict[str, int]:
    database = Database(state).open()
    try:
        return {path.name: mode(path) for path in state.glob("fleet.db*")}
    finally:
        database.close()


SECRET = dict.fromkeys(("fleet.db", "fleet.db-wal", "fleet.db-shm"), 0o600)


@pytest.mark.parametrize("plain", [True, False])
def test_what_is_made_is_its_owners_alone(tmp_path: Path, plain: bool) -> None:
    state = tmp_path / "fleet"
    init(state, plain=plain)
    assert mode(state) == 0o700
    assert database_modes(state) == SECRET


def test_a_folder_that_exists_keeps_its_mode_and_the_database_does_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    first = Database(tmp_path).open()
    for path in tmp_path.glob("fleet.db*"):
        path.chmod(0o644)
    assert database_modes(tmp_path) == SECRET, "also of one that is in use"
    first.close()
    assert mode(tmp_path) == 0o755


def test_a_second_opening_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """SQLite's locks belong to the process and the file: whoever opens and closes it ends them."""
    database = Database(tmp_path).open()
    alone = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('pragma journal_mode=delete')"
    )
    with database.snapshot():
        Database(tmp_path).open().close()
        other = [sys.executable, "-c", alone, str(tmp_path / "fleet.db")]
        done = subprocess.run(other, capture_output=True, text=True, check=False)
    assert "database is locked" in done.stderr
    database.close()


def test_a_failed_reading_tells_why_where_sqlite_has_ended_it(tmp_path: Path) -> None:
    database = Database(tmp_path).open()
    with pytest.raises(StoreError, match="disk I/O error"), database.snapshot() as sql:
        sql.execute("rollback")  # as SQLite does by itself on some failures
        raise sqlite3.OperationalError("disk I/O error")
    database.close()
