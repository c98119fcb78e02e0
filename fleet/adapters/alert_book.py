"""Findings through time, in the fleet's database: alerts survive a restart, and a command acknowledges them.

One writer looks (the server's evaluator); commands and the page read, and acknowledge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, encode
from fleet.alerts import Alert, Finding, Watch, acknowledge, look, standing
from wire.errors import MessageError

_Place = tuple[str, str]

#: Rows that one transaction writes: a few milliseconds.
_ROWS: Final = 200


class AlertBook:
    """Reads and writes what is watched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget_pending(self) -> None:
        """Drop what was not raised yet: while nobody looked, nothing can have lasted."""
        with self._database.transaction():
            self._write({place: None for place, watch in self._watches().items() if watch.raised_s is None})

    def look(self, findings: Iterable[Finding], now_s: float) -> None:
        """Take in what a look found at Unix time `now_s`.

        Ingest waits for whoever writes, so it is computed before, and written some rows at a time.
        """
        before = self._watches()
        after = look(before, findings, now_s)
        changed: dict[_Place, Watch | None] = {p: w for p, w in after.items() if before.get(p) != w}
        changed |= dict.fromkeys(before.keys() - after.keys())
        for rows in _batches(changed.items()):
            with self._database.transaction():
                for place, watch in rows:
                    self._write({place: watch and self._as_acknowledged(place, watch)})

    def _as_acknowledged(self, place: _Place, watch: Watch) -> Watch:
        """Return `watch` with what a person may have said of it meanwhile."""
        row = self._database.sql.execute(
            "select body from alert where kind = ? and subject = ?", place
        ).fetchone()
        stands = _read(row[0]) if row else None
        if stands is None:
            return watch
        return replace(watch, acknowledged_by=stands.acknowledged_by, acknowledged_s=stands.acknowledged_s)

    def standing(self) -> dict[str, Alert]:
        """Return the alerts that stand, by key."""
        (devices,) = self._database.sql.execute("select count(*) from device").fetchone()
        return standing(self._watches(), devices)

    def acknowledge(self, key: str, person: str, now_s: float) -> bool:
        """Acknowledge an alert; return whether it stands."""
        with self._database.transaction():
            marked = acknowledge(self._watches(), key, person, now_s)
            self._write(marked)
        return bool(marked)

    def _watches(self) -> dict[_Place, Watch]:
        found = self._database.sql.execute("select kind, subject, body from alert").fetchall()
        return {(kind, subject): watch for kind, subject, body in found if (watch := _read(body))}

    def _write(self, watches: Mapping[_Place, Watch | None]) -> None:
        for (kind, subject), watch in watches.items():
            if watch is None:
                self._database.sql.execute(
                    "delete from alert where kind = ? and subject = ?", (kind, subject)
                )
            else:
                self._database.sql.execute(
                    "insert or replace into alert values (?, ?, ?)", (kind, subject, encode(watch))
                )


def _read(body: bytes) -> Watch | None:
    """Return a row; None for one of another version: it is found again, if it is still there."""
    try:
        return decode(Watch, body)
    except MessageError:
        return None


def _batches(rows: Iterable[tuple[_Place, Watch | None]]) -> Iterator[list[tuple[_Place, Watch | None]]]:
    left = iter(rows)
    while batch := list(islice(left, _ROWS)):
        yield batch
