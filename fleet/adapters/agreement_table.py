"""How far releases agreed with reference models, in the fleet's database: the newest result for each pair."""

from __future__ import annotations

from dataclasses import replace

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, encode
from fleet.agreeing import Agreement


class AgreementTable:
    """Reads and writes results."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, found: Agreement) -> None:
        """Store a result in place of an earlier one of the same release and reference.

        Without the single samples: what a device said goes with it (fleet/adapters/removal.py).
        """
        found = replace(found, disagreeing=())
        with self._database.transaction() as sql:
            sql.execute(
                "insert or replace into agreement values (?, ?, ?, ?)",
                (found.release, found.against.sha256, found.at_s, encode(found)),
            )

    def of(self, release: str) -> list[Agreement]:
        """Return the results of a release, the newest first."""
        found = self._database.sql.execute(
            "select body from agreement where release = ? order by time_s desc", (release,)
        )
        return [decode(Agreement, body) for (body,) in found]
