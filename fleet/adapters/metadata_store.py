"""The fleet's signed metadata, in its database: written with the releases that it names, or not at all."""

from __future__ import annotations

import json
from typing import Any, Final

from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.api.serialization.json import JSONSerializer

from fleet.adapters.database import Database
from wire.errors import SettingsError
from wire.messages import MAX_PAYLOAD_BYTES
from wire.targets import ISSUED

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
        if len(data) > MAX_PAYLOAD_BYTES:
            raise SettingsError(
                f"the signed {role} would have {len(data)} bytes, a message takes {MAX_PAYLOAD_BYTES}: "
                "use fewer models in one fleet"
            )
        version = metadata.signed.version
        with self._database.transaction() as sql:
            sql.execute("insert into metadata values (?, ?, ?)", (role, version, data))
            if role != Root.type:
                sql.execute(
                    "delete from metadata where role = ? and version <= ?", (role, version - REMEMBERED)
                )
        return data


def file_name(role: str, version: int) -> str:
    """Return the name under which a role's metadata is published (TUF, consistent snapshots)."""
    return "timestamp.json" if role == Timestamp.type else f"{version}.{role}.json"
