"""What people said is right, for samples that devices sent: the last word on a sample counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from fleet.adapters.database import Database
from wire.counters import MAX_CLASSES
from wire.errors import SettingsError

_LONGEST_ID: Final = 128


class Labels:
    """The labels in a fleet's database."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    def put(self, device: str, sample: str, release: str, truth: int, who: str) -> None:
        """Store what is right; raise SettingsError for a class or a sample that cannot be."""
        if not 0 <= truth < MAX_CLASSES:
            raise SettingsError(f"class {truth}: write 0 to {MAX_CLASSES - 1}")
        if not 0 < len(sample) <= _LONGEST_ID:
            raise SettingsError("a sample without an id cannot be labelled")
        with self._database.transaction() as sql:
            if sql.execute("select 1 from device where name = ?", (device,)).fetchone() is None:
                raise SettingsError(f"no device {device[:64]!r}")
            sql.execute(
                "insert or replace into label values (?, ?, ?, ?, ?, ?, 0)",
                (device, sample, release[:_LONGEST_ID], truth, who, self._wall_clock()),
            )

    def waiting(self, limit: int) -> dict[str, list[tuple[str, int]]]:
        """Return (sample, truth) of labels that connected devices do not have yet, by device."""
        rows = self._database.sql.execute(
            "select l.device, l.sample, l.truth from label l join device d on d.name = l.device "
            "where not l.handed_over and d.online limit ?",
            (limit,),
        )
        found: dict[str, list[tuple[str, int]]] = {}
        for device, sample, truth in rows:
            found.setdefault(device, []).append((sample, truth))
        return found

    def handed_over(self, device: str, rows: Iterable[tuple[str, int]]) -> None:
        """Take note of labels that are on their way; one that was changed meanwhile waits on."""
        with self._database.transaction() as sql:
            sql.executemany(
                "update label set handed_over = 1 where device = ? and sample = ? and truth = ?",
                [(device, sample, truth) for sample, truth in rows],
            )

    def all(self) -> dict[tuple[str, str], tuple[int, str]]:
        """Return (truth, who said so) by (device, sample)."""
        rows = self._database.sql.execute("select device, sample, truth, labelled_by from label")
        return {(device, sample): (truth, who) for device, sample, truth, who in rows}
