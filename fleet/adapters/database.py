"""The SQLite file of a fleet, shared by the server (which writes reports) and the commands (which wish)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wire.errors import UnavailableError

#: Every statement must be safe to run on a file that has it already.
_SCHEMA: Final = """
create table if not exists device (
    name text primary key,
    first_seen_s real not null,
    last_seen_s real not null,
    boot text not null default '',
    online integer not null default 0,
    reported blob,
    telemetry blob
);
create table if not exists desired (
    device text primary key,
    sequence integer not null,
    groups text not null,
    pins text not null default '{}'
);
-- Devices that a person spoke of before they said a word.
create table if not exists awaited (
    device text primary key
);
create table if not exists report (
    device text not null,
    stream text not null,
    boot text not null,
    sequence integer not null,
    time_s real not null,
    received_s real not null,
    body blob not null,
    primary key (device, stream, boot, sequence)
) without rowid;
create table if not exists mark (
    device text not null,
    stream text not null,
    boot text not null,
    sequence integer not null,
    lost integer not null,
    changed_s real not null,
    primary key (device, stream, boot)
) without rowid;
create table if not exists total (
    device text not null,
    release text not null,
    inferences integer not null,
    errors integer not null,
    labelled integer not null,
    correct integer not null,
    latency_us blob not null,
    primary key (device, release)
) without rowid;
create table if not exists refusal (
    kind text primary key,
    count integer not null
);
create table if not exists release (
    name text primary key,
    sequence integer not null,
    body blob not null,
    cleared integer not null default 0
);
-- Releases whose blobs are no longer on the disk.
create table if not exists collected (
    name text primary key
);
create table if not exists plan (
    "group" text not null,
    model text not null,
    sequence integer not null,
    body blob not null,
    primary key ("group", model)
);
create table if not exists metadata (
    role text not null,
    version integer not null,
    body blob not null,
    primary key (role, version)
) without rowid;
create table if not exists auto_release (
    name text primary key
);
"""

_BUSY_S: Final = 10.0


#: The claims' proof keys are in there. SQLite gives the files beside it the mode of the first.
_SECRET: Final = 0o600


class Database:
    """One connection to `<state>/fleet.db`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._connection: sqlite3.Connection | None = None

    def open(self, *, create: bool = True) -> Database:
        """Open the file, making it if asked to; raise UnavailableError when that cannot be."""
        path = self.state / "fleet.db"
        if not create and not path.exists():
            raise UnavailableError(
                f"no fleet in {self.state}: run `edgeflock fleet init --state {self.state}`"
            )
        try:
            self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            _keep_secret(path)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._connection.execute("pragma journal_mode=wal")
            self._connection.execute("pragma synchronous=full")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(f"{path}: {error}") from error
        return self

    @property
    def sql(self) -> sqlite3.Connection:
        assert self._connection is not None, "the database is not open"
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all that happens inside, or nothing of it; inside another one it is a part of that."""
        inside = self.sql.in_transaction
        if inside:
            yield self.sql
            return
        with self._translated():
            self.sql.execute("begin immediate")
            try:
                yield self.sql
                self.sql.execute("commit")
            except BaseException:
                if self.sql.in_transaction:
                    self.sql.execute("rollback")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read several things as they stood at one moment."""
        with self._translated():
            self.sql.execute("begin")
            try:
                yield self.sql
            finally:
                self.sql.execute("rollback")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(f"{self.state / 'fleet.db'}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _keep_secret(path: Path) -> None:
    """Make the file if there is none, for its owner alone; close to others what an earlier version left open.

    One that is there must not be opened: closing it again would end the locks of SQLite in this process.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET))
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # the owner's affair, not a reader's
            if stat.S_IMODE(file.stat().st_mode) != _SECRET:
                file.chmod(_SECRET)
