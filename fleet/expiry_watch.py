"""Looks what of a fleet expires soon, and says so: in the server's log, and beside a command. Wiring."""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.database import Database
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.signing_desk import now
from fleet.expiring import SAY_EVERY, Lasting, Notice, notices
from wire.deadline import Clock, Deadline
from wire.errors import SettingsError

log = logging.getLogger(__name__)

_SIGNED: Final = {
    "root": "the root of trust",
    "targets": "the list of signed releases",
}
_INSTALLS: Final = "no device installs anything"
_CONNECTS: Final = "no device reaches the broker"


def lasting(database: Database) -> list[Lasting]:
    """Return what of the fleet expires and is not renewed by itself."""
    state, store = database.state, MetadataStore(database)
    signed = [(role, name, store.latest(role)) for role, name in _SIGNED.items()]
    things = [
        Lasting(name, metadata.signed.expires, _INSTALLS, f"run `{_keys(role, state)}`")
        for role, name, metadata in signed
        if metadata is not None
    ]
    files = BrokerFiles(state)
    return things + (_certificates(files, state) if files.exist else [])


def _keys(role: str, state: Path) -> str:
    return f"edgeflock fleet keys renew {role} --state {state} --keys FOLDER"


def _certificates(files: BrokerFiles, state: Path) -> list[Lasting]:
    again = f"run `edgeflock fleet init --renew --state {state}` and restart `fleet serve`"
    anew = "make new CAs and enroll each device again (docs/how-to/secure-the-broker.md, Renewal)"
    return [
        Lasting(str(path), expires, _CONNECTS, again if renewable else anew)
        for path, expires, renewable in files.expiries()
    ]


def note_expiries(state: Path) -> None:
    """Say on standard error what expires soon, a line each; raise UnavailableError where no fleet is."""
    database = Database(state).open(create=False)
    try:
        for notice in _said(lambda: lasting(database), now()):
            print(f"note: {notice.text}", file=sys.stderr)
    finally:
        database.close()


def _said(look: Callable[[], list[Lasting]], at: datetime) -> list[Notice]:
    try:
        return notices(look(), at)
    except (SettingsError, OSError, sqlite3.Error) as error:
        return [Notice(f"cannot tell what expires: {error}", expired=False)]


class ExpiryWatch:
    """Says it in the log, once a day."""

    def __init__(
        self,
        look: Callable[[], list[Lasting]],
        clock: Clock,
        wall_clock: Callable[[], datetime] = now,
    ) -> None:
        self._look = look
        self._clock = clock
        self._wall_clock = wall_clock
        self._next = Deadline.after(0, clock)

    def turn(self) -> None:
        """Say it when it is time to."""
        if not self._next.passed:
            return
        self._next = Deadline.after(SAY_EVERY.total_seconds(), self._clock)
        for notice in _said(self._look, self._wall_clock()):
            log.log(logging.ERROR if notice.expired else logging.WARNING, "%s", notice.text)
