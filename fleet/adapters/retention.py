"""Removes what has been kept long enough, some hundred rows at a time, so that ingest never waits for it.

What is removed of a stream is counted at its mark, so that the ledger still balances. Freed pages are used
again by SQLite, and given back to the disk where the file was made for that (decision 22).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from fleet.adapters.database import Database
from fleet.keeping import KEEP_S, Keep
from fleet.timing import DAY_S, HOUR_S, MINUTE_S
from wire.topics import Leaf

#: Rows of one step: 10 to 20 ms of a small server.
_STEP: Final = 1_000
_STEP_DEVICES: Final = 200
_STEP_PAGES: Final = 500

#: `pragma auto_vacuum`
_INCREMENTAL: Final = 2

#: id, device, boot
_Found = tuple[int, str, str]


class Retention:
    """Goes round the tables; `step` does a little of it."""

    def __init__(self, database: Database, keep: Keep, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._keep = keep
        self._wall_clock = wall_clock
        self._turn = 0
        self._event = 0  # the last event that was looked at in this round
        self._device = ""  # the last device whose vitals were
        self._tasks: list[Callable[[float], bool]] = [
            self._reports, self._samples, self._events, self._minutes, self._hours, self._vitals, self._pages,
        ]  # fmt: skip

    def step(self) -> bool:
        """Remove a little; return whether there is more to do now. False ends a round."""
        with self._database.transaction():
            more = self._tasks[self._turn](self._wall_clock())
        if not more:
            self._turn = (self._turn + 1) % len(self._tasks)
        return more or self._turn != 0

    def _reports(self, now_s: float) -> bool:
        (waits,) = self._database.sql.execute("select min(id) from unsummed").fetchone()
        return self._remove_first("telemetry", "report", now_s - self._keep.raw_s, waits)

    def _samples(self, now_s: float) -> bool:
        return self._remove_first("samples", "sample", now_s - self._keep.samples_s)

    def _remove_first(self, stream: Leaf, table: str, before_s: float, stop: int | None = None) -> bool:
        """Remove from the oldest on, up to one that came after `before_s`, or that with the id `stop`."""
        rows = self._database.sql.execute(
            f"select id, device, boot, received_s from {table} order by id limit ?",  # noqa: S608  # our own name
            (_STEP,),
        ).fetchall()
        due: list[_Found] = []
        for number, device, boot, received_s in rows:
            if received_s >= before_s or number == stop:
                break
            due.append((number, device, boot))
        self._remove(stream, table, due)
        return len(due) == _STEP

    def _events(self, now_s: float) -> bool:
        """Remove old events, but the last ones of each device."""
        sql, keep = self._database.sql, self._keep
        rows = sql.execute(
            "select id, device, boot, received_s from event where id > ? order by id limit ?",
            (self._event, _STEP),
        ).fetchall()
        due: list[_Found] = []
        for number, device, boot, received_s in rows:
            if received_s >= now_s - keep.events_s:
                break
            self._event = number
            newer = sql.execute(
                "select 1 from event where device = ? and id > ? limit 1 offset ?",
                (device, number, keep.events_of_device - 1),
            ).fetchone()
            if newer:
                due.append((number, device, boot))
        self._remove("event", "event", due)
        if rows and self._event == rows[-1][0] and len(rows) == _STEP:
            return True
        self._event = 0
        return False

    def _remove(self, stream: Leaf, table: str, due: list[_Found]) -> None:
        sql = self._database.sql
        counted = Counter((device, boot) for _, device, boot in due)
        sql.executemany(
            "update mark set removed = removed + ? where device = ? and stream = ? and boot = ?",
            [(n, device, stream, boot) for (device, boot), n in counted.items()],
        )
        sql.executemany(f"delete from {table} where id = ?", [(number,) for number, _, _ in due])  # noqa: S608  # our own name

    def _minutes(self, now_s: float) -> bool:
        return self._remove_sums("scope = ''", MINUTE_S, now_s - KEEP_S[MINUTE_S] - DAY_S)

    def _hours(self, now_s: float) -> bool:
        """A device's; the fleet's are few, and kept for longer."""
        if self._remove_sums("scope = ''", HOUR_S, now_s - self._keep.fleet_hours_s):
            return True
        before_s = now_s - KEEP_S[HOUR_S] - DAY_S
        names = self._database.sql.execute("select distinct release from rollup where scope = ''").fetchall()
        return any(self._remove_sums("scope <> '' and release = ?", HOUR_S, before_s, *n) for n in names)

    def _remove_sums(self, where: str, resolution_s: int, before_s: float, *what: str) -> bool:
        """Remove sums that are in coarser ones as well."""
        removed = self._database.sql.execute(
            f"delete from rollup where id in (select id from rollup where {where} "  # noqa: S608  # our own text
            "and resolution_s = ? and start_s < ? and folded = 1 limit ?)",
            (*what, resolution_s, before_s, _STEP),
        ).rowcount
        return removed == _STEP

    def _vitals(self, now_s: float) -> bool:
        names = self._database.sql.execute(
            "select name from device where name > ? order by name limit ?", (self._device, _STEP_DEVICES)
        ).fetchall()
        before_s = now_s - self._keep.vitals_s
        self._database.sql.executemany(
            "delete from vitals where device = ? and start_s < ?", [(name, before_s) for (name,) in names]
        )
        more = len(names) == _STEP_DEVICES
        self._device = names[-1][0] if more else ""
        return more

    def _pages(self, _now_s: float) -> bool:
        """Give pages back to the disk when more than a tenth of the file is free."""
        sql = self._database.sql
        (free,), (all_,) = (sql.execute(f"pragma {p}").fetchone() for p in ("freelist_count", "page_count"))
        (vacuum,) = sql.execute("pragma auto_vacuum").fetchone()
        if vacuum != _INCREMENTAL or free <= max(_STEP_PAGES, all_ // 10):
            return False
        sql.execute(f"pragma incremental_vacuum({_STEP_PAGES})").fetchall()
        return True
