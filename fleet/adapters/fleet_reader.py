"""Reads the database for views and the ledger; writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from fleet.accounting import Ledger, StreamFacts, balance
from fleet.adapters.complaints import Table
from fleet.adapters.database import Database
from fleet.adapters.message_tables import TABLES
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.msgspec_codec import decode, encode, parse_as
from fleet.adapters.rollup_table import FLEET
from fleet.blocking import blocking
from fleet.health import DEFAULT_INTERVAL_S, metadata_is_stale, presence
from fleet.ingest import ReleaseTotal
from fleet.progress import Device
from fleet.view import DeviceFacts, DeviceRow, rows
from wire.messages import Desired, Event, ModelState, Reported, Telemetry
from wire.topics import Leaf


class FleetReader:
    """What the store holds, as facts for the pure functions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self) -> list[DeviceRow]:
        """Return a row for each model of each device, by the device's name."""
        now_s = time.time()
        totals, issued_s = self.totals(), MetadataStore(self._database).issued_s()
        found = self._database.sql.execute(
            "select name, online, last_seen_s, reported, telemetry from device order by name"
        )
        made = []
        for name, online, last_seen_s, reported_bytes, telemetry in found:
            reported = decode(Reported, reported_bytes) if reported_bytes else None
            version = reported.timestamp_version if reported and online else None
            facts = DeviceFacts(
                device=name,
                online=bool(online),
                silent_for_s=now_s - last_seen_s,
                reported=reported,
                telemetry=decode(Telemetry, telemetry) if telemetry else None,
                totals=totals.get(name, {}),
                stale_metadata=metadata_is_stale(version, issued_s, now_s),
            )
            made += rows(facts)
        return made

    def devices(self, desired: Mapping[str, Desired]) -> list[Device]:
        """Return what each known device said of its models, by name; `desired` is by device."""
        now_s = time.time()
        found = self._database.sql.execute(
            "select name, online, last_seen_s, reported, telemetry from device order by name"
        )
        return [
            Device(
                name=name,
                present=presence(
                    online=bool(online),
                    silent_for_s=now_s - last_seen_s,
                    interval_s=decode(Telemetry, telemetry).interval_s if telemetry else DEFAULT_INTERVAL_S,
                )
                == "online",
                models=decode(Reported, reported).models if reported else (),
                desired=desired[name],
            )
            for name, online, last_seen_s, reported, telemetry in found
            if name in desired
        ]

    def reported(self) -> Iterator[Reported]:
        """Yield what each device said last of itself."""
        found = self._database.sql.execute("select reported from device where reported is not null")
        for (reported,) in found:
            yield decode(Reported, reported)

    def models(self) -> list[ModelState]:
        """Return what each device said last of each of its models."""
        return [model for reported in self.reported() for model in reported.models]

    def held(self) -> frozenset[str]:
        """Return the releases that devices have on their disks, as far as they said."""
        return frozenset(name for model in self.models() for name in (model.current, model.previous) if name)

    def ledger(self) -> Ledger:
        """Return the proof that every message is accounted for."""
        sql = self._database.sql
        with self._database.snapshot():
            streams = [facts for stream in TABLES for facts in self._stream_facts(stream)]
            cut = sql.execute("select device, boot from mark where stream = 'telemetry' and removed > 0")
            reports = sql.execute("select device, boot, body from report order by device, boot, sequence")
            return balance(
                streams,
                ((device, boot, decode(Telemetry, body)) for device, boot, body in reports),
                frozenset(cut.fetchall()),
            )

    def _stream_facts(self, stream: Leaf) -> list[StreamFacts]:
        counted = self._database.sql.execute(
            "select m.device, m.stream, m.boot, m.sequence, m.lost, count(r.sequence) + m.removed, "  # noqa: S608  # our own name
            f"coalesce(max(r.sequence), m.sequence), m.removed from mark m left join {TABLES[stream]} r "
            "using (device, boot) where m.stream = ? group by m.device, m.boot",
            (stream,),
        )
        return [StreamFacts(*fields) for fields in counted]

    def events(self, device: str) -> list[tuple[float, Event]]:
        """Return the device's audit log, oldest first: (Unix time, event)."""
        found = self._database.sql.execute(
            "select time_s, body from event where device = ? order by received_s, sequence", (device,)
        )
        return [(time_s, decode(Event, body)) for time_s, body in found]

    def blocking(self, release: str) -> frozenset[str]:
        """Return the devices that have blocked `release`, as far as they told."""
        found = self._database.sql.execute(
            "select device, body from event where instr(body, ?) order by id",
            (encode(release),),  # cheaper than to decode every event that there ever was
        )
        return blocking(release, ((device, decode(Event, body)) for device, body in found))

    def refusals(self) -> dict[str, int]:
        """Return how many messages were not understood, by kind."""
        return dict(
            self._database.sql.execute("select kind, sum(count) from refusal group by kind").fetchall()
        )

    def complaints(self, table: Table) -> dict[str, dict[str, int]]:
        """Return by device and kind how many messages were refused, or taken with a doubt (`flag`).

        What came from no device that can be named is under "".
        """
        counts: dict[str, dict[str, int]] = {}
        for device, kind, count in self._database.sql.execute(f"select device, kind, count from {table}"):  # noqa: S608  # one of two
            counts.setdefault(device, {})[kind] = count
        return counts

    def totals(self) -> dict[str, dict[str, ReleaseTotal]]:
        """Return the sums by device and release.

        They may lack a device's last four reports, where the fleet reports so often that they wait.
        """
        totals: dict[str, dict[str, ReleaseTotal]] = {}
        found = self._database.sql.execute(
            "select scope, release, body from rollup where resolution_s = 0 union all "
            "select scope, release, body from rollup where folded = 0"
        )
        for device, release, body in found:
            if device != FLEET:
                said = parse_as(ReleaseTotal, body)  # the rest of a sum takes most of its time to read
                of_device = totals.setdefault(device, {})
                before = of_device.get(release)
                of_device[release] = said if before is None else before.plus(said)
        return totals
