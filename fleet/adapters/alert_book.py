"""Findings through time, in the fleet's database: alerts survive a restart, and a command acknowledges them.

One writer looks (the server's evaluator); commands and the page read, and acknowledge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, encode
from fleet.alerts import Alert, Finding, Watch, acknowledge, look, standing
from wire.errors import MessageError

#: The only place that makes it.
_SCHEMA: Final = """
create table if not exists alert (
    kind text not null,
    subject text not null,
    body blob not null,
    primary key (kind, subject)
) without rowid
"""


class AlertBook:
    """Reads and writes what is watched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> AlertBook:
        self._database.sql.execute(_SCHEMA)
        return self

    def forget_pending(self) -> None:
        """Drop what was not raised yet: while nobody looked, nothing can have lasted."""
        with self._database.transaction():
            self._write({place: None for place, watch in self._watches().items() if watch.raised_s is None})

    def look(self, findings: Iterable[Finding], now_s: float) -> None:
        """Take in what a look found at Unix time `now_s`."""
        with self._database.transaction():
            before = self._watches()
            after = look(before, findings, now_s)
            changed = {place: watch for place, watch in after.items() if before.get(place) != watch}
            self._write({**changed, **dict.fromkeys(before.keys() - after.keys())})

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

    def _watches(self) -> dict[tuple[str, str], Watch]:
        watches = {}
        for kind, subject, body in self._database.sql.execute("select kind, subject, body from alert"):
            try:
                watches[kind, subject] = decode(Watch, body)
            except MessageError:  # of another version: it is found again, if it is still there
                continue
        return watches

    def _write(self, watches: Mapping[tuple[str, str], Watch | None]) -> None:
        for (kind, subject), watch in watches.items():
            if watch is None:
                self._database.sql.execute(
                    "delete from alert where kind = ? and subject = ?", (kind, subject)
                )
            else:
                self._database.sql.execute(
                    "insert or replace into alert values (?, ?, ?)", (kind, subject, encode(watch))
                )
