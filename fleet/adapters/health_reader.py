"""Reads what is known of each device for the rules of its health; writes nothing.

It remembers, from one reading to the next: a report of half an hour to an hour ago, against which counts
since boot are held, and since when a device's counts have stood still. The first reading knows neither:
then what counts since boot is taken as old news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.msgspec_codec import decode
from fleet.health import DEFAULT_INTERVAL_S, metadata_is_stale
from fleet.health_rules import HealthFacts
from fleet.ingest import ReleaseTotal
from wire.messages import Reported, Telemetry

#: Sums by device and release.
Totals = Mapping[str, Mapping[str, ReleaseTotal]]

#: A report is held against one that is at least as old as this, and at most twice as old.
_EARLIER_S: Final = 1800.0


@dataclass(frozen=True)
class _Standing:
    """What the store holds of one device now."""

    boot: str
    newest: bytes
    counted: int
    telemetry: Telemetry | None


@dataclass
class _Memory:
    """Of one device: what stood last, reports to hold against, and times in Unix seconds."""

    last: _Standing
    moved_s: float
    reported_s: float
    kept_s: float
    kept: Telemetry | None
    earlier: Telemetry | None = None

    @classmethod
    def begin(cls, now: _Standing, now_s: float) -> _Memory:
        return cls(now, now_s, now_s, now_s, now.telemetry)

    def take(self, now: _Standing, now_s: float) -> None:
        """Take in what stands now."""
        if now.boot != self.last.boot:  # everything since its boot is news
            self.kept, self.earlier, self.kept_s = None, None, now_s
        if now_s - self.kept_s >= _EARLIER_S:
            self.kept, self.earlier, self.kept_s = now.telemetry, self.kept, now_s
        if now.newest != self.last.newest:
            self.reported_s = now_s
        if now.counted != self.last.counted:
            self.moved_s = now_s
        self.last = now

    @property
    def still_for_s(self) -> float | None:
        """How long reports have come without a count that moved."""
        return max(0.0, self.reported_s - self.moved_s) if self.last.counted else None


class HealthReader:
    """The reader; its database is of the thread that reads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = FleetReader(database)
        self._memories: dict[str, _Memory] = {}

    def facts(
        self, now_s: float, listening_since_s: float = 0.0, totals: Totals | None = None
    ) -> list[HealthFacts]:
        """Return what is known of each device, by name.

        Nobody is silent for longer than we have listened, since Unix time `listening_since_s`. `totals` are
        those of `FleetReader`, where they have just been read.
        """
        issued_s = MetadataStore(self._database).issued_s()
        counted = {
            device: sum(total.inferences + total.errors for total in by_release.values())
            for device, by_release in (self._reader.totals() if totals is None else totals).items()
        }
        found = self._database.sql.execute(
            "select name, boot, online, last_seen_s, reported, telemetry from device order by name"
        ).fetchall()
        self._forget({name for name, *_ in found})
        facts = []
        for name, boot, online, last_seen_s, reported_bytes, telemetry_bytes in found:
            reported = decode(Reported, reported_bytes) if reported_bytes else None
            telemetry = decode(Telemetry, telemetry_bytes) if telemetry_bytes else None
            stands = _Standing(boot, telemetry_bytes or b"", counted.get(name, 0), telemetry)
            memory = self._memories.setdefault(name, _Memory.begin(stands, now_s))
            memory.take(stands, now_s)
            version = reported.timestamp_version if reported and online else None
            facts.append(
                HealthFacts(
                    device=name,
                    online=bool(online),
                    silent_for_s=max(0.0, now_s - max(last_seen_s, listening_since_s)),
                    interval_s=telemetry.interval_s if telemetry else DEFAULT_INTERVAL_S,
                    now_s=now_s,
                    reported=reported,
                    telemetry=telemetry,
                    earlier=memory.earlier or memory.kept,
                    still_for_s=memory.still_for_s,
                    stale_metadata=metadata_is_stale(version, issued_s, now_s),
                )
            )
        return facts

    def _forget(self, known: set[str]) -> None:
        for device in self._memories.keys() - known:
            del self._memories[device]
