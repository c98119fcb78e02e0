"""Resource use of devices by the hour: how many values, their sum, the lowest and the highest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.adapters.database import Database
from fleet.spans import NOTHING, Measured, merge_measured
from fleet.timing import HOUR_S, slot

#: The columns' prefixes, and what they hold.
MEASURES: Final = {
    "cpu": "cpu_percent",
    "rss": "rss_bytes",
    "heat": "temperature_c",
    "slow": "throttled_s",
}

_PARTS: Final = ("n", "sum", "low", "high")
#: Behind device and hour: `_PARTS` of each measure.
COLUMNS: Final = [f"{measure}_{part}" for measure in MEASURES for part in _PARTS]


def _merged(column: str) -> str:
    if column.endswith(("_n", "_sum")):
        return f"{column} = {column} + excluded.{column}"
    best = "min" if column.endswith("_low") else "max"  # of two values; null where either is null
    return f"{column} = coalesce({best}({column}, excluded.{column}), {column}, excluded.{column})"


_ADD: Final = (
    f"insert into vitals (device, start_s, {', '.join(COLUMNS)}) "  # noqa: S608  # our own names
    f"values ({', '.join('?' * (2 + len(COLUMNS)))}) on conflict (device, start_s) do update set "
    + ", ".join(_merged(column) for column in COLUMNS)
)


class VitalsTable:
    """The writer of `vitals`; inside a transaction that ends with `flush`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # By device and hour: `_PARTS` of each measure.
        self._rows: dict[tuple[str, int], list[Measured]] = {}

    def forget(self) -> None:
        """Drop what is in memory: the transaction that it belonged to has failed."""
        self._rows.clear()

    def add(self, device: str, at_s: float, vitals: Mapping[str, Any]) -> None:
        """Add one reading; `vitals` is by the names of `Vitals`."""
        key = (device, slot(at_s, HOUR_S))
        values = (vitals.get(field) for field in MEASURES.values())
        read = [NOTHING if v is None else (1, v, v, v) for v in values]
        known = self._rows.get(key)
        self._rows[key] = [merge_measured(both) for both in zip(known, read, strict=True)] if known else read

    def flush(self) -> None:
        """Write what was added."""
        rows = [(*key, *(part for measured in row for part in measured)) for key, row in self._rows.items()]
        self._database.sql.executemany(_ADD, rows)
        self._rows.clear()
