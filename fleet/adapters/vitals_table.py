"""Resource use of devices by the hour: how many values, their sum, the lowest and the highest."""

from __future__ import annotations

from typing import Final

from fleet.adapters.database import Database
from fleet.timing import HOUR_S, slot
from wire.messages import Vitals

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
        self._rows: list[tuple[object, ...]] = []

    def forget(self) -> None:
        """Drop what is in memory: the transaction that it belonged to has failed."""
        self._rows.clear()

    def add(self, device: str, at_s: float, vitals: Vitals) -> None:
        row: list[object] = [device, slot(at_s, HOUR_S)]
        for field in MEASURES.values():
            value = getattr(vitals, field)
            row += (0, 0, None, None) if value is None else (1, value, value, value)
        self._rows.append(tuple(row))

    def flush(self) -> None:
        """Write what was added."""
        self._database.sql.executemany(_ADD, self._rows)
        self._rows.clear()
