"""A fleet's state, open for one command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.audit_log import AuditLog
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.registry import Registry
from fleet.initialising import open_signing


@dataclass(frozen=True)
class OpenedFleet:
    """What commands read and change; `signed` tells which releases devices find signed, None: nothing is."""

    database: Database
    registry: Registry
    reader: FleetReader
    audit: AuditLog
    signed: Callable[[], frozenset[str]] | None


@contextmanager
def opened_fleet(state: Path) -> Iterator[OpenedFleet]:
    """Open the state that is in this folder; raise SettingsError where there is none."""
    database = Database(state).open(create=False)
    try:
        registry, signed = Registry(database).open(), open_signing(database).signed
        yield OpenedFleet(database, registry, FleetReader(database), AuditLog(database), signed)
    finally:
        database.close()
