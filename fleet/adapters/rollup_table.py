"""Sums by device and for the fleet, as they lie in the table.

A report is added to the finest row of each scope: the hour of its device, the minute of the fleet. When a
release's next slot begins, the earlier ones are folded: added once to the coarser rows and to that of all
time, and marked. So a report costs two rows to write and not seven, and a reader that wants a day takes the
day's row and what is not folded yet. What comes late for a folded slot is added to its coarser rows as
well, and what comes after the slot was removed to these alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import encode, parse
from fleet.keeping import KEEP_S
from fleet.rollup import Sums
from fleet.timing import DAY_S, HOUR_S, MINUTE_S, slot
from wire.counters import ModelCounters

#: The scope of the sums over all devices.
FLEET: Final = ""

#: Resolutions in seconds, the finest first. 0 is all time.
ALL_TIME: Final = 0
OF_A_DEVICE: Final = (HOUR_S, DAY_S, ALL_TIME)
OF_THE_FLEET: Final = (MINUTE_S, HOUR_S, DAY_S, ALL_TIME)

#: No device runs more releases than this in its life without somebody looking at it.
MAX_RELEASES: Final = 64

_CACHED: Final = 2_000

#: What a report says of a release, as it came or as it lies in the store.
Counted = ModelCounters | Mapping[str, Any]

#: scope, resolution_s, start_s, release
_Key = tuple[str, int, int, str]


@dataclass
class _Row:
    """A row as it lies in the table, or will after the flush."""

    id: int | None
    sums: Sums
    reports: int = 0
    folded: bool = False


class RollupTable:
    """The writer of `rollup`; `add` and `fold` happen inside a transaction that ends with `flush`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[_Key, _Row] = {}
        self._changed: dict[_Key, _Row] = {}
        # The slots that begin in this transaction, by scope and release: the table does not have them yet.
        self._begun: dict[str, dict[str, set[int]]] = {}

    def forget(self) -> None:
        """Drop what is in memory: the transaction that it belonged to has failed."""
        self._rows.clear()
        self._changed.clear()
        self._begun.clear()

    def forget_device(self, device: str) -> None:
        """Drop what is in memory of a device: its rows are erased."""
        self._rows = {key: row for key, row in self._rows.items() if key[0] != device}

    def releases(self, device: str) -> tuple[str, ...]:
        """Return the releases that a device has counted."""
        found = self._database.sql.execute("select distinct release from rollup where scope = ?", (device,))
        return tuple(name for (name,) in found)

    def add_to_device(self, device: str, at_s: float, counters: Counted, now_s: float) -> None:
        """Add what one report says of a release to the sums of its device."""
        self._add(device, OF_A_DEVICE, at_s, counters, now_s)

    def add_to_fleet(self, at_s: float, counters: ModelCounters, now_s: float) -> None:
        """Add what one report says of a release to the sums of the fleet."""
        self._add(FLEET, OF_THE_FLEET, at_s, counters, now_s)

    def add_earlier(self, device: str, at_s: float, counters: ModelCounters) -> None:
        """Add a report that the row of all time holds already: one from before there were slots."""
        for scope, resolutions in ((device, OF_A_DEVICE), (FLEET, OF_THE_FLEET)):
            for resolution_s in resolutions:
                if scope == FLEET or resolution_s != ALL_TIME:
                    row = self._row((scope, resolution_s, _start(at_s, resolution_s), counters.release))
                    row.folded = True
                    row.sums.add(counters)
                    row.reports += 1

    def _add(
        self, scope: str, resolutions: Sequence[int], at_s: float, counters: Counted, now_s: float
    ) -> None:
        finest_s, *coarser = resolutions
        release = counters.release if isinstance(counters, ModelCounters) else counters["release"]
        start_s = slot(at_s, finest_s)
        rows: list[_Row] = []
        if start_s + KEEP_S[finest_s] > now_s:
            row = self._row((scope, finest_s, start_s, release))
            if not row.reports:
                self._fold(scope, release, resolutions, start_s)
                self._begin(scope, release, start_s)
            rows.append(row)
        if not rows or rows[0].folded:
            rows += [self._row((scope, r, _start(at_s, r), release)) for r in coarser]
        for row in rows:
            if isinstance(counters, ModelCounters):
                row.sums.add(counters)
            else:
                row.sums.add_plain(counters)
            row.reports += 1

    def _begin(self, scope: str, release: str, start_s: int) -> None:
        self._begun.setdefault(scope, {}).setdefault(release, set()).add(start_s)

    def _fold(self, scope: str, release: str, resolutions: Sequence[int], newest_s: int) -> None:
        """Add the open slots but the newest to the coarser rows."""
        finest_s, *coarser = resolutions
        found = self._database.sql.execute(
            "select start_s from rollup where scope = ? and release = ? and folded = 0", (scope, release)
        ).fetchall()
        starts = [start_s for (start_s,) in found]
        starts += self._begun.get(scope, {}).get(release, ())
        newest_s = max([newest_s, *starts])
        for start_s in set(starts) - {newest_s}:
            row = self._row((scope, finest_s, start_s, release))
            if row.folded or not row.reports:
                continue
            row.folded = True
            plain = row.sums.plain(release)
            for resolution_s in coarser:
                into = self._row((scope, resolution_s, _start(start_s, resolution_s), release))
                into.sums.add_plain(plain)
                into.sums.left_out += row.sums.left_out
                into.reports += row.reports

    def _row(self, key: _Key) -> _Row:
        """Return a row to be changed, as it is in memory or in the table, or a new one."""
        row = self._changed.get(key)
        if row is not None:
            return row
        row = self._rows.pop(key, None) or self._read(key)
        self._rows[key] = self._changed[key] = row  # the last that was used is the last
        return row

    def _read(self, key: _Key) -> _Row:
        found = self._database.sql.execute(
            "select id, reports, left_out, folded, body from rollup "
            "where scope = ? and resolution_s = ? and start_s = ? and release = ?",
            key,
        ).fetchone()
        if found is None:
            finest_s = (OF_THE_FLEET if key[0] == FLEET else OF_A_DEVICE)[0]
            return _Row(None, Sums(), folded=key[1] != finest_s)
        number, reports, left_out, folded, body = found
        sums = Sums().add_plain(parse(body))
        sums.left_out += left_out
        return _Row(number, sums, reports, bool(folded))

    def flush(self) -> None:
        """Write what changed."""
        sql = self._database.sql
        updates = []
        for (scope, resolution_s, start_s, release), row in self._changed.items():
            body = encode(row.sums.plain(release))
            if row.id is None:
                row.id = sql.execute(
                    "insert into rollup (scope, resolution_s, start_s, release, reports, left_out, folded, "
                    "body) values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (scope, resolution_s, start_s, release, row.reports, row.sums.left_out, row.folded, body),
                ).lastrowid
            else:
                updates.append((row.reports, row.sums.left_out, row.folded, body, row.id))
        sql.executemany(
            "update rollup set reports = ?, left_out = ?, folded = ?, body = ? where id = ?", updates
        )
        self._changed.clear()
        self._begun.clear()
        for key in list(self._rows)[: max(0, len(self._rows) - _CACHED)]:
            del self._rows[key]


def _start(at_s: float, resolution_s: int) -> int:
    return slot(at_s, resolution_s) if resolution_s else 0
