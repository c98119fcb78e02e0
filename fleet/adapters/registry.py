"""What should be: releases with their blobs, plans per group, groups per device."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fleet.adapters.database import Database
from fleet.releasing import Built
from wire.adapters.files import sweep_temporaries, write_atomic
from wire.codec import decode, encode
from wire.errors import SettingsError
from wire.messages import Desired, Plan, Release, Targets

#: Every device is a member: a fleet works before anybody has thought about groups.
EVERYONE: Final = "all"

#: Releases of one model that stay on the broker: one serves, one is the way back, one is on its way.
KEPT_RELEASES: Final = 3


class Registry:
    """The server's and the commands' view of what a fleet should run. One writer at a time, by SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blobs = database.state / "blobs"

    def open(self) -> Registry:
        self._blobs.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(self._blobs)
        return self

    def add_release(self, built: Built) -> Release:
        """Store a release; return the one that is there already if it is the same.

        Raises SettingsError for a name that is taken by other content: what a name means never changes.
        """
        release = built.release
        known = {r.name: r for r in self.releases()}.get(release.name)
        if known is not None:
            if known.bundle_sha256 != release.bundle_sha256:
                raise SettingsError(
                    f"{release.name} was released with other content: convert it with a new --version"
                )
            return known
        blob = built.description
        write_atomic(self._path(blob.sha256), built.blob)
        write_atomic(self._path(blob.chunks_sha256), built.digests)
        with self._database.transaction() as sql:
            sql.execute(
                "insert into release select ?, coalesce(max(sequence), 0) + 1, ? from release",
                (release.name, encode(release)),
            )
        return release

    def releases(self) -> list[Release]:
        """Return all releases, oldest first."""
        rows = self._database.sql.execute("select body from release order by sequence")
        return [decode(Release, row[0]) for row in rows]

    def targets(self) -> Targets:
        """Return what plans may name: the newest releases of each model, and those a plan names now."""
        rows = self._database.sql.execute("select coalesce(max(sequence), 0) from release").fetchone()
        planned = {plan.release for plan in self.plans()}
        kept: list[Release] = []
        seen: dict[str, int] = {}
        for release in reversed(self.releases()):
            model = release.manifest.model
            seen[model] = seen.get(model, 0) + 1
            if seen[model] <= KEPT_RELEASES or release.name in planned:
                kept.append(release)
        return Targets(version=rows[0], releases=tuple(reversed(kept)))

    def plan(
        self,
        release: Release,
        group: str,
        *,
        percent: float = 100.0,
        canaries: tuple[str, ...] = (),
        rate_bytes_s: int | None = None,
    ) -> Plan:
        """Make `release` the plan of `group`, from now on."""
        with self._database.transaction() as sql:
            (last,) = sql.execute("select coalesce(max(sequence), 0) from plan").fetchone()
            plan = Plan(
                sequence=last + 1,
                group=group,
                model=release.manifest.model,
                release=release.name,
                bundle_sha256=release.bundle_sha256,
                percent=percent,
                canaries=canaries,
                rate_bytes_s=rate_bytes_s,
            )
            sql.execute(
                "insert or replace into plan values (?, ?, ?, ?)",
                (group, plan.model, plan.sequence, encode(plan)),
            )
        return plan

    def plans(self) -> tuple[Plan, ...]:
        rows = self._database.sql.execute("select body from plan order by sequence")
        return tuple(decode(Plan, row[0]) for row in rows)

    def desired(self) -> dict[str, Desired]:
        """Return what each known device should be."""
        rows = self._database.sql.execute("select device, sequence, groups, pins from desired")
        return {
            device: Desired(sequence, tuple(json.loads(groups)), json.loads(pins))
            for device, sequence, groups, pins in rows
        }

    def welcome(self, devices: Iterable[str]) -> None:
        """Make those of `devices` that are new here members of EVERYONE."""
        groups = json.dumps([EVERYONE])
        with self._database.transaction() as sql:
            sql.executemany(
                "insert or ignore into desired values (?, 1, ?, '{}')",
                [(device, groups) for device in devices],
            )

    def members(self, group: str) -> list[str]:
        """Return the devices of `group`."""
        return sorted(device for device, desired in self.desired().items() if group in desired.groups)

    def read_blob(self, sha256: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` of a stored blob."""
        with self._path(sha256).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def changed(self) -> int:
        """Return a number that changes when another connection has written."""
        (version,) = self._database.sql.execute("pragma data_version").fetchone()
        return int(version)

    def _path(self, sha256: str) -> Path:
        return self._blobs / sha256
