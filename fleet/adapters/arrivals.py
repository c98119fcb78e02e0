"""What of a simulated fleet's messages is in the store: each once, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.database import Database
from fleet.adapters.message_tables import TABLES


@dataclass(frozen=True)
class Arrived:
    """Rows of one boot of some devices, beside how many messages they sent."""

    messages: int
    lost: int
    doubled: int


def arrived(state: Path, boot: str, devices: Sequence[str], said: int) -> Arrived:
    """Count what `devices` said in `boot`, of `said` messages; raise UnavailableError without a fleet."""
    database = Database(state).open(create=False)
    try:
        wanted = frozenset(devices)
        rows = distinct = 0
        for table in TABLES.values():
            found = database.sql.execute(
                f"select device, count(*), count(distinct sequence) from {table} "  # noqa: S608  # our own names
                "where boot = ? group by device",
                (boot,),
            )
            for device, all_, different in found:
                if device in wanted:
                    rows += all_
                    distinct += different
    finally:
        database.close()
    return Arrived(rows, said - distinct, rows - distinct)
