"""Removes a device from the fleet: what it said, its sums, its place in the registry.

Whoever holds the state folder's lock erases: a running server, else the command. The request stays in the
table `gone` until the server has taken the device's retained messages off the broker. What it counted
remains in the sums of the whole fleet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fleet.adapters.database import Database

#: Where a device is named, and by which column.
_PLACES: Final = (
    ("device", "name"), ("desired", "device"), ("awaited", "device"), ("report", "device"),
    ("event", "device"), ("sample", "device"), ("mark", "device"), ("pending", "device"), ("rollup", "scope"),
    ("vitals", "device"), ("refusal", "device"), ("flag", "device"), ("claim", "device"),
    ("label", "device"), ("unsummed", "device"),
)  # fmt: skip


class Removal:
    """The requests, and what they do. A revoked certificate stays listed: the broker must refuse it."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    def knows(self, device: str) -> bool:
        """Return whether there is anything of a device to remove."""
        sql = self._database.sql
        return any(
            sql.execute(f"select 1 from {table} where {column} = ? limit 1", (device,)).fetchone()  # noqa: S608  # our own names
            for table, column in _PLACES
            if table in ("device", "desired", "awaited", "claim")
        )

    def ask(self, device: str) -> None:
        """Have a device removed."""
        with self._database.transaction() as sql:
            sql.execute("insert or replace into gone values (?, ?, 0)", (device, self._wall_clock()))

    def asked(self) -> list[str]:
        """Return the devices that are to be erased."""
        found = self._database.sql.execute("select device from gone where not erased order by asked_s")
        return [device for (device,) in found]

    def erase(self, device: str) -> None:
        """Remove all that is stored of a device, or nothing."""
        with self._database.transaction() as sql:
            for table, column in _PLACES:
                sql.execute(f"delete from {table} where {column} = ?", (device,))  # noqa: S608  # our own names
            sql.execute("update gone set erased = 1 where device = ?", (device,))

    def withdrawn(self) -> list[str]:
        """Return the erased devices whose messages may still stand on the broker."""
        return [d for (d,) in self._database.sql.execute("select device from gone where erased")]

    def done(self, devices: list[str]) -> None:
        """Take note that nothing of them stands on the broker any more."""
        with self._database.transaction() as sql:
            sql.executemany("delete from gone where device = ? and erased", [(d,) for d in devices])
