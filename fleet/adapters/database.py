"""The SQLite file of a fleet, shared by the server (which writes reports) and the commands (which wish).

Who may make it (the server, `init`) brings the schema up to date as well; who only joins in says that it
is old, and neither waits for the server nor changes what an older one is using.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fleet.adapters.migrations import check, migrate, standing
from wire.errors import UnavailableError

_BUSY_S: Final = 10.0

#: What SQLite may keep in memory of the file, if it has come to read so much: the open sums of a large fleet.
_CACHE_KIB: Final = 128 * 1024
#: 32 MB between two checkpoints: what changes with every report is written once, not each time.
_CHECKPOINT_PAGES: Final = 8_000


#: The claims' proof keys are in there. SQLite gives the files beside it the mode of the first.
_SECRET: Final = 0o600


class StoreError(UnavailableError):
    """SQLite cannot do it now: the disk is full, or another process writes for too long."""


class Database:
    """One connection to `<state>/fleet.db`; who writes waits up to `busy_s` for another who does."""

    def __init__(self, state: Path, *, busy_s: float = _BUSY_S) -> None:
        self.state = state
        self._busy_s = busy_s
        self._connection: sqlite3.Connection | None = None

    def open(self, *, create: bool = True) -> Database:
        """Open the file, making it and its schema if asked to; raise UnavailableError when that cannot be."""
        path = self.state / "fleet.db"
        if not create and not path.exists():
            raise UnavailableError(
                f"no fleet in {self.state}: run `edgeflock fleet init --state {self.state}`"
            )
        try:
            self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            _keep_secret(path)
            self._connection = sqlite3.connect(path, timeout=self._busy_s, isolation_level=None)
            self._prepare(path, create=create)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise UnavailableError(f"{path}: {error}") from error
        except UnavailableError:
            self.close()
            raise
        return self

    def _prepare(self, path: Path, *, create: bool) -> None:
        """Set the connection up, and see to the schema. An empty file nobody uses: whoever comes makes it."""
        if check(self.sql, path):
            self._tune()
            return
        found = standing(self.sql)
        if found and not create:
            raise UnavailableError(
                f"{path} is of an earlier edgeflock (schema {found}): `edgeflock fleet serve` updates it"
            )
        if not found:
            self.sql.execute("pragma auto_vacuum=incremental")  # has an effect only before the first table
        self.sql.execute("pragma journal_mode=wal")  # is kept in the file
        migrate(self.sql)
        self._tune()

    def _tune(self) -> None:
        self.sql.execute("pragma synchronous=full")
        self.sql.execute(f"pragma cache_size=-{_CACHE_KIB}")
        self.sql.execute(f"pragma wal_autocheckpoint={_CHECKPOINT_PAGES}")

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
                if self.sql.in_transaction:  # SQLite may have ended it, on a failure that is to be told
                    self.sql.execute("rollback")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.state / 'fleet.db'}: {error}") from error

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
