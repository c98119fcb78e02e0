"""Answers in a table of a SQLite database, each row exactly once.

Rules:
- rows and the record of how far the job is are one transaction: whatever happens, they agree;
- rows wait in memory for the next checkpoint, so that the database is locked for milliseconds only;
- other tables are let be, and readers see the rows as they come;
- errors are in a file, whose end the record tells: it is on disk before the transaction is.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge.adapters.batch_outputs import (
    ERRORS,
    LOCK,
    GrowingFile,
    error_lines,
    move_errors,
    read_record,
    remove,
)
from edge.batch.answering import Refusal
from edge.batch.answers import Cells, Column, flat
from edge.batch.destination import JOBS_TABLE, Destination
from edge.batch.job import Found, Record
from wire.adapters.files import only_owner, sync_folder
from wire.codec import encode
from wire.errors import UnavailableError

_LOCKED_S: Final = 30.0
_TYPES: Final = {"text": "TEXT", "whole": "INTEGER", "real": "REAL", "json": "TEXT", "list": "TEXT"}


class SqliteOutput:
    """Answers in a table; see Output for what the methods do."""

    def __init__(self, to: Destination, columns: tuple[Column, ...]) -> None:
        self._to = to
        self._columns = columns
        self._errors = GrowingFile(to.folder / ERRORS)
        self._waiting: list[Cells] = []

    def owner(self) -> AbstractContextManager[None]:
        return only_owner(self._to.folder / LOCK, "batch")

    def find(self) -> Found:
        if not self._to.path.exists():
            return Found(there=False)
        try:
            tables, record = self._look()
        except OSError as error:
            raise UnavailableError(f"{self._to.path}: {error.strerror}") from error
        if self._to.table.lower() not in tables:
            return Found(there=False)
        at_work = self._errors.path.exists()
        return Found(True, finished=record is None or (record.checkpoint.done and not at_work), record=record)

    def begin(self, record: Record, *, anew: bool) -> None:
        if record.checkpoint.done:
            return
        if anew:  # first: an errors file beside the record of a finished job would become that job's
            self._make_table(record)
        self._errors.begin(record.checkpoint.errors)
        sync_folder(self._to.folder)  # before a record speaks of the errors in it
        sync_folder(self._to.folder.parent)

    def _make_table(self, record: Record) -> None:
        table = _quoted(self._to.table)
        columns = ", ".join(f"{_quoted(column.name)} {_TYPES[column.kind]}" for column in self._columns)
        with _Database(self._to.path) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute(f"CREATE TABLE {table} ({columns})")
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {JOBS_TABLE} (answers TEXT PRIMARY KEY, record TEXT)"
            )
            self._keep(database, record)
            database.execute("COMMIT")

    def discard(self) -> None:
        remove(self._to.folder)

    def write(self, rows: Sequence[Cells], errors: Sequence[Refusal]) -> None:
        self._waiting += rows
        self._errors.add(error_lines(errors))

    def commit(self, record: Record) -> Record:
        told = replace(record, checkpoint=replace(record.checkpoint, errors=self._errors.commit()))
        places = ", ".join("?" * len(self._columns))
        with _Database(self._to.path) as database:
            database.execute("BEGIN IMMEDIATE")
            query = f"INSERT INTO {_quoted(self._to.table)} VALUES ({places})"  # noqa: S608  # quoted
            database.executemany(query, map(flat, self._waiting))
            self._keep(database, told)
            database.execute("COMMIT")
        self._waiting = []
        return told

    def finish(self, record: Record) -> None:
        self.close()
        move_errors(self._to, record)
        remove(self._to.folder)

    def close(self) -> None:
        self._waiting = []
        self._errors.close()

    def _look(self) -> tuple[set[str], Record | None]:
        """Return the tables' names and the job's record."""
        with _Database(self._to.path) as database:
            query = "SELECT lower(name) FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in database.execute(query)}
            if JOBS_TABLE not in tables:
                return tables, None
            query = f"SELECT record FROM {JOBS_TABLE} WHERE answers = ?"  # noqa: S608  # our own name
            row = database.execute(query, (self._to.table,)).fetchone()
        return tables, read_record(row[0].encode()) if row else None

    def _keep(self, database: sqlite3.Connection, record: Record) -> None:
        query = f"INSERT OR REPLACE INTO {JOBS_TABLE} VALUES (?, ?)"  # noqa: S608  # our own name
        database.execute(query, (self._to.table, encode(record).decode()))


class _Database:
    """A database for the time of a block. What it cannot do is an OSError that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = sqlite3.connect(self._path, timeout=_LOCKED_S, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._connection is not None, "entered"
        self._connection.close()  # which takes back a transaction that was not committed
        if isinstance(error, sqlite3.Error):
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> OSError:
        return OSError(errno.EIO, str(error), str(self._path))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
