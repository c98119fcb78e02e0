"""The fleet's signed metadata, in its database: written with the releases that it names, or not at all."""

from __future__ import annotations

import json
from typing import Any, Final

from tuf.api.metadata import Metadata, Root, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from fleet.adapters.database import Database
from fleet.releasing import FULL, check_fits, counted
from wire.targets import ISSUED, RELEASE

#: Versions of a role that are remembered; of the root, all: a device may have slept through any of them.
REMEMBERED: Final = 32


class MetadataStore:
    """Reads and adds versions; what was added does not change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(self, role: str) -> Metadata[Any] | None:
        """Return the newest metadata of `role`, or None."""
        data = self.latest_bytes(role)
        return Metadata.from_bytes(data) if data else None

    def latest_bytes(self, role: str) -> bytes | None:
        row = self._database.sql.execute(
            "select body from metadata where role = ? order by version desc limit 1", (role,)
        ).fetchone()
        return row[0] if row else None

    def versions(self, role: str) -> list[tuple[int, bytes]]:
        """Return what is remembered of `role`, oldest first: (version, bytes)."""
        return self._database.sql.execute(
            "select version, body from metadata where role = ? order by version", (role,)
        ).fetchall()

    def issued_s(self) -> dict[int, float]:
        """Return the signing time of each timestamp that is remembered, in Unix seconds, by version."""
        return {
            version: json.loads(data)["signed"][ISSUED] for version, data in self.versions(Timestamp.type)
        }

    def roles(self) -> list[str]:
        return [role for (role,) in self._database.sql.execute("select distinct role from metadata")]

    def add(self, role: str, metadata: Metadata[Any]) -> bytes:
        """Add a version of `role`; raise SettingsError for one that no message can carry."""
        data = metadata.to_bytes(JSONSerializer(compact=True))
        check_fits(f"the signed {role}{_content(metadata.signed)}", data, FULL)
        version = metadata.signed.version
        with self._database.transaction() as sql:
            sql.execute("insert into metadata values (?, ?, ?)", (role, version, data))
            if role != Root.type:
                sql.execute(
                    "delete from metadata where role = ? and version <= ?", (role, version - REMEMBERED)
                )
        return data


def _content(signed: Any) -> str:
    if not isinstance(signed, Targets):
        return ""
    releases = [name for name, file in signed.targets.items() if RELEASE in (file.custom or {})]
    return f" ({counted(name.removeprefix('auto/') for name in releases)})"


def file_name(role: str, version: int) -> str:
    """Return the name under which a role's metadata is published (TUF, consistent snapshots)."""
    return "timestamp.json" if role == Timestamp.type else f"{version}.{role}.json"
