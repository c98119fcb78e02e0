"""How many classes a release has, as its manifest in the registry says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import parse

#: A release that is not known may be pushed at any time; it is looked for again after so long.
_AGAIN_S: Final = 60.0
_MAX_REMEMBERED: Final = 10_000


class ClassCounts:
    """Reads the table `release`, each known one once: what a name means never changes."""

    def __init__(self, database: Database, wall_clock: Callable[[], float]) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._known: dict[str, int] = {}
        self._unknown: dict[str, float] = {}

    def of(self, release: str) -> int:
        """Return the number of classes; 0 where it is not known, or the release is no classifier."""
        known = self._known.get(release)
        if known is not None:
            return known
        now_s = self._wall_clock()
        if now_s - self._unknown.get(release, float("-inf")) < _AGAIN_S:
            return 0
        row = self._database.sql.execute("select body from release where name = ?", (release,)).fetchone()
        if row:
            self._known[release] = int(parse(row[0]).get("manifest", {}).get("labels", 0))
            return self._known[release]
        if len(self._unknown) >= _MAX_REMEMBERED:
            self._unknown.clear()
        self._unknown[release] = now_s
        return 0
