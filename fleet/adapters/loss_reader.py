"""Reads how many messages of each device were dropped and will never come; writes nothing."""

from __future__ import annotations

from typing import Final

from fleet.adapters.database import Database

#: A loss is news for so long.
_NEWS_S: Final = 3600.0


class LossReader:
    """The reader. What was lost before its first reading is no news."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._before: dict[str, int] | None = None
        self._later: dict[str, int] = {}
        self._turned_s = 0.0

    def lost(self, now_s: float) -> dict[str, int]:
        """Return by device what was lost in the last one to two hours, where anything was."""
        counted: dict[str, int] = dict(
            self._database.sql.execute("select device, sum(lost) from mark group by device").fetchall()
        )
        if self._before is None:
            self._before, self._later, self._turned_s = counted, counted, now_s
        if now_s - self._turned_s >= _NEWS_S:
            self._before, self._later, self._turned_s = self._later, counted, now_s
        before = self._before
        return {device: n for device, count in counted.items() if (n := count - before.get(device, 0)) > 0}
