"""The messages themselves, each stream in a table of its own, in the order in which they came."""

from __future__ import annotations

from typing import Final

from fleet.adapters.database import Database
from fleet.ingest import Arrival
from wire.messages import Samples
from wire.topics import Leaf

#: The table of each durable stream.
TABLES: Final[dict[Leaf, str]] = {"telemetry": "report", "event": "event", "samples": "sample"}

_INSERT: Final[dict[Leaf, str]] = {
    "telemetry": "insert into report values (?, ?, ?, ?, ?, ?, ?, ?)",
    "event": "insert into event values (?, ?, ?, ?, ?, ?, ?, ?)",
    "samples": "insert into sample values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
}


class MessageTables:
    """The writer of `report`, `event` and `sample`; inside a transaction that ends with `flush`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[Leaf, list[tuple[object, ...]]] = {stream: [] for stream in TABLES}
        self._reports: int | None = None  # the highest `id` that is given away

    def forget(self) -> None:
        """Drop what is in memory: the transaction that it belonged to has failed."""
        for rows in self._rows.values():
            rows.clear()
        self._reports = None

    def add(self, word: Arrival, received_s: float, at_s: float, body: bytes) -> int | None:
        """Add a message, and return the `id` of a report; `at_s` is the moment that it belongs to, `body` its
        content as JSON."""
        head = word.head
        number = self._next_report() if word.stream == "telemetry" else None
        row = (number, word.device, head.boot, head.sequence, head.time_s, received_s, at_s, body)
        if isinstance(word.body, Samples):
            row = (*row, word.body.release)  # type: ignore[assignment]  # one column more
        self._rows[word.stream].append(row)
        return number

    def _next_report(self) -> int:
        """Return the `id` of the next report, as SQLite would give it: nobody else writes reports."""
        if self._reports is None:
            (self._reports,) = self._database.sql.execute(
                "select coalesce(max(id), 0) from report"
            ).fetchone()
        self._reports += 1
        return self._reports

    def flush(self) -> None:
        """Write what was added."""
        for stream, rows in self._rows.items():
            if rows:
                self._database.sql.executemany(_INSERT[stream], rows)
                rows.clear()
