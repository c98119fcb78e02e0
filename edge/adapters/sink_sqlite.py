"""Results in a table of a SQLite database.

Write-ahead log, one transaction a batch: readers are never in the way, and a kill loses nothing that
was committed. `synchronous=normal`: a power cut may take the last transactions, never the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from edge.online.answer_rows import COLUMNS, Row, to_cells
from edge.online.delivery import RowsRefusedError
from wire.errors import SettingsError

_TYPES: Final = {str: "text", float: "real", int: "integer"}
_SCHEMA: Final = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in COLUMNS.items())
_INSERT: Final = f"insert into result values ({', '.join('?' * len(COLUMNS))})"  # noqa: S608  # only question marks

#: Waits so long for another writer before a batch counts as failed, and is tried again.
_BUSY_S: Final = 5.0


class SqliteSink:
    """Appends to the table `result`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self.safe = 0

    def open(self) -> None:
        """Open or make the database; raise SettingsError when it is none, or its table is another."""
        try:
            self._db = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            found = [name for _, name, *_ in self._db.execute("pragma table_info(result)")]
            if found not in ([], list(COLUMNS)):
                raise SettingsError(f"{self._path} has a table 'result' with other columns: name a new file")
            self._db.execute("pragma journal_mode=wal")  # only now: it changes the file
            self._db.execute("pragma synchronous=normal")
            self._db.execute(f"create table if not exists result ({_SCHEMA})")
        except sqlite3.Error as error:
            self.close()
            raise SettingsError(f"{self._path} cannot be used: {error}") from error
        except SettingsError:
            self.close()
            raise

    def write(self, rows: Sequence[Row]) -> int:
        assert self._db is not None, "opened before"
        try:
            self._db.execute("begin immediate")
            self._db.executemany(_INSERT, [to_cells(row) for row in rows])
            self._db.execute("commit")
        except sqlite3.OperationalError as error:  # a full disk, a lock: may pass
            raise OSError(0, str(error), self._path) from error
        except sqlite3.Error as error:
            raise RowsRefusedError(len(rows), f"{self._path}: {error}") from error
        finally:
            self._roll_back()
        self.safe += len(rows)
        return len(rows)

    def tick(self) -> None:
        """Nothing is due: every batch is committed at once."""

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _roll_back(self) -> None:
        """End what was not committed: also after an error that is none of the database's."""
        assert self._db is not None
        if self._db.in_transaction:
            self._db.execute("rollback")
