"""What each device should be: its groups and pins, also of devices that are still to come."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fleet.adapters.database import Database
from fleet.assigning import EVERYONE, newcomer
from wire.messages import Desired


class DeviceBook:
    """Desired states in the fleet's database; its writer holds a transaction of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def desired(self) -> dict[str, Desired]:
        """Return what each device that is known or awaited should be."""
        rows = self._database.sql.execute("select device, sequence, groups, pins from desired")
        return {
            device: Desired(sequence, tuple(json.loads(groups)), json.loads(pins), device)
            for device, sequence, groups, pins in rows
        }

    def awaited(self) -> frozenset[str]:
        """Return the devices that have not said a word yet."""
        return frozenset(device for (device,) in self._database.sql.execute("select device from awaited"))

    def members(self, group: str) -> list[str]:
        """Return the devices of `group` that have been seen: the others neither take part nor are late."""
        awaited = self.awaited()
        return sorted(
            d for d, desired in self.desired().items() if group in desired.groups and d not in awaited
        )

    def pinned(self) -> frozenset[str]:
        """Return the releases that a device is pinned to."""
        return frozenset(name for desired in self.desired().values() for name in desired.pins.values())

    def pinned_for(self, device: str) -> frozenset[str]:
        """Return the releases that one device is pinned to."""
        rows = self._database.sql.execute("select pins from desired where device = ?", (device,))
        return frozenset(name for (pins,) in rows for name in json.loads(pins).values())

    def put(self, desired: Desired) -> None:
        """Let this stand for its device; one that nobody knew is awaited from now on."""
        sql = self._database.sql
        if sql.execute("select 1 from desired where device = ?", (desired.device,)).fetchone() is None:
            sql.execute("insert into awaited values (?)", (desired.device,))
        sql.execute(
            "insert or replace into desired values (?, ?, ?, ?)",
            (desired.device, desired.sequence, json.dumps(desired.groups), json.dumps(desired.pins)),
        )

    def welcome(self, devices: Iterable[str]) -> None:
        """Take note that `devices` are here; one of which nobody has said anything is in EVERYONE."""
        devices = tuple(devices)
        groups = json.dumps([EVERYONE])
        sql = self._database.sql
        sql.executemany(
            "insert or ignore into desired values (?, ?, ?, '{}')",
            [(device, newcomer(device).sequence, groups) for device in devices],
        )
        sql.executemany("delete from awaited where device = ?", [(device,) for device in devices])
