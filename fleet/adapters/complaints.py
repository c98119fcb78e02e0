"""What was wrong with what devices said: refused messages, and flags on what was taken, by device and kind.

Counted in memory and written with the next batch, so that a flood of bad messages costs no commit each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from fleet.adapters.database import Database

Table = Literal["refusal", "flag"]

#: Whoever reaches an open broker can invent devices: those past so many are counted together, as "".
_MAX_DEVICES: Final = 10_000

_ADD: Final = (
    "insert into {} values (?, ?, ?, ?) on conflict (device, kind) do update set "
    "count = count + excluded.count, last_s = excluded.last_s"
)
_SQL: Final[dict[Table, str]] = {"refusal": _ADD.format("refusal"), "flag": _ADD.format("flag")}


class Complaints:
    """The writer of `refusal` and `flag`."""

    def __init__(self, database: Database, wall_clock: Callable[[], float]) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._waiting: dict[tuple[Table, str, str], int] = {}
        self._devices: set[str] = set()
        self._told: set[tuple[Table, str]] = set()
        # Both as they stood before the batch that is being taken.
        self._before = (self._waiting.copy(), self._told.copy())

    def begin(self) -> None:
        """Take note of where a batch begins."""
        self._before = (self._waiting.copy(), self._told.copy())

    def forget(self) -> None:
        """Drop what was counted since `begin`: the transaction that it belonged to has failed."""
        self._waiting, self._told = self._before

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting)

    def count(self, table: Table, device: str, kind: str) -> bool:
        """Count one; return whether it is the first of its kind since the start, worth a line in the log."""
        if device not in self._devices:
            if len(self._devices) >= _MAX_DEVICES:
                device = ""
            self._devices.add(device)
        key = (table, device, kind)
        self._waiting[key] = self._waiting.get(key, 0) + 1
        first = (table, kind) not in self._told
        self._told.add((table, kind))
        return first

    def flush(self) -> None:
        """Write what was counted, inside a transaction; `written` follows when that is committed."""
        now_s = self._wall_clock()
        for table, statement in _SQL.items():
            rows = [(d, kind, n, now_s) for (t, d, kind), n in self._waiting.items() if t == table]
            self._database.sql.executemany(statement, rows)

    def written(self) -> None:
        """Forget what the last flush wrote."""
        self._waiting.clear()
