"""Answers that were sent as samples, on the disk: they are labelled hours later, and boards restart.

SQLite in WAL mode with full synchronisation: a label that is reported is gone from here, whatever happens,
so none counts twice. One transaction for each report, beside those of the outbox, so a card is not worn out;
answers that were not sampled are in memory only.

Tags and labels are not kept: a label that comes after a restart counts for its release, and in no slice.

A disk that fails costs the rows that it does not take, which are counted, and nothing else: those that it
does not remove are removed as soon as it works again.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from edge.adapters.outbox import CORRUPT
from edge.remembered import Answered
from wire.counters import MAX_EARLIER

log = logging.getLogger(__name__)

_SCHEMA: Final = """
create table if not exists answered (
    number integer primary key,
    id text not null unique,
    release text not null,
    said integer not null,
    confidence real,
    classes integer not null
)
"""


class AnswerStore:
    """A file of at most `limit` answers of one row each. Lives on the control thread once it is open."""

    def __init__(self, path: Path, limit: int = MAX_EARLIER) -> None:
        self._path = path
        self._limit = limit
        self._db: sqlite3.Connection | None = None
        self._left_over: list[str] = []  # counted, and still on a disk that failed: the newest of them
        self._unsaved = 0

    @property
    def unsaved(self) -> int:
        """Samples whose label will not count after a restart, since this was made."""
        return self._unsaved

    def open(self) -> list[tuple[str, Answered]]:
        """Open the file and return what is in it, the oldest first; a damaged one is begun anew.

        One that a full disk keeps from being opened stays, for the next start; until then nothing is saved.
        """
        for again in (True, False):
            try:
                return self._open()
            except (sqlite3.Error, ValueError) as error:  # rows that make no sense are damage, too
                log.warning(
                    "%s cannot be read, labels of older samples will not count: %s", self._path, error
                )
                self.close()
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
                if not again or code not in CORRUPT:
                    break
                self._remove()
        return []

    def save(self, kept: Sequence[tuple[str, Answered]], gone: Iterable[str]) -> None:
        """Add answers, and remove those whose truth was counted."""
        if self._db is None:
            self._unsaved += len(kept)
            return
        gone = [*self._left_over, *gone]
        if not kept and not gone:
            return
        rows = [(i, a[0], a[1][0], None if math.isnan(a[2][0]) else a[2][0], a[4]) for i, a in kept]
        try:
            with self._db:
                self._db.executemany("delete from answered where id = ?", [(identity,) for identity in gone])
                self._db.executemany(
                    "insert or ignore into answered (id, release, said, confidence, classes) "
                    "values (?, ?, ?, ?, ?)",
                    rows,
                )
                self._db.execute(
                    "delete from answered where number <= (select max(number) from answered) - ?",
                    (self._limit,),
                )
        except sqlite3.Error as error:
            self._unsaved += len(kept)
            log.warning("samples could not be remembered (%d so far): %s", self._unsaved, error)
            self._left_over = gone[-self._limit :]  # as many as there may be in the file
        else:
            self._left_over = []

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> list[tuple[str, Answered]]:
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=full")
        self._db.execute(_SCHEMA)
        rows = self._db.execute(
            "select id, release, said, confidence, classes from answered order by number"
        ).fetchall()
        return [
            (
                str(i),
                (str(release), (int(said),), (_confidence(sure),), (), int(classes), ()),
            )
            for i, release, said, sure, classes in rows
        ]

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            try:
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s cannot be removed: %s", self._path, error)


def _confidence(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)
