"""What the pages have of the fleet, and the two threads that hold it: one reads, one changes.

Rules:
- each thread has a connection of its own: SQLite's are not shared between threads. A page that reads never
  makes the server's loop wait, and waits for nobody who writes (WAL): only a change does, and only other
  changes wait behind it;
- what is asked for again within a second is not read again, however many people look;
- a page writes wishes through `Steering`, as the commands do; the server's next turn publishes them.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from itsdangerous import BadSignature, TimestampSigner

from fleet.adapters.accounts import Accounts
from fleet.adapters.alert_book import AlertBook
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.database import Database, StoreError
from fleet.adapters.labels import Labels
from fleet.adapters.registry import Registry
from fleet.adapters.steering import Steering, Wanted
from fleet.adapters.store_reading import StoreReading
from fleet.initialising import open_signing
from fleet.web.access import SESSION_S, Session
from fleet.web.kept import Kept
from fleet.web.reading import NotThereError, Reading
from wire.errors import UnavailableError
from wire.messages import Plan

T = TypeVar("T")

#: A change waits no longer for another process that writes: somebody looks at the button.
_BUSY_S: Final = 2.0

_STATES: Final = {"pause": "pause", "resume": "run", "abort": "abort"}


class Store:
    """Everything behind the pages, on one connection; `changed` is called when something was written."""

    def __init__(self, database: Database, listening_since_s: float, changed: Callable[[], None]) -> None:
        self._database = database
        self._registry = Registry(database).open()
        self._changed = changed
        self._kept = Kept(StoreReading(database, self._registry, listening_since_s=listening_since_s))
        self.reading: Reading = self._kept
        self.accounts = Accounts(database)
        self.audit = AuditLog(database)
        self.labels = Labels(database)
        self._signer = TimestampSigner(
            self.accounts.cookie_key(), salt="edgeflock page session", digest_method=hashlib.sha256
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several changes at once, or none of them; what is read next is new."""
        try:
            with self._database.transaction():
                yield
        finally:
            self.forget()
            self._changed()

    def forget(self) -> None:
        """Read anew what is asked for next; any thread may say so."""
        self._kept.forget()

    def steer(self, act: str, group: str, model: str, sequence: int | None) -> Plan:
        """Change a rollout, inside a transaction; return the plan that stands now.

        Raises NotThereError where there is none, UnavailableError when it is no longer the one with
        `sequence` (None: whichever it is), or it cannot be done to it.
        """
        standing = next((p for p in self._registry.plans() if (p.group, p.model) == (group, model)), None)
        if standing is None:
            raise NotThereError(f"no rollout of {model} in {group}")
        if sequence is not None and standing.sequence != sequence:
            raise UnavailableError(
                f"the rollout of {model} in {group} has changed since you looked, nothing was done"
            )
        steering = Steering(self._database, self._registry, open_signing(self._database).signed)
        wanted = Wanted(model, None, group)
        made = steering.undo(wanted) if act == "undo" else steering.set_state(wanted, _STATES[act])
        return made[0] if made else standing

    def acknowledge(self, key: str, who: str) -> bool:
        """Take note of an alert in somebody's name; return whether it stands."""
        return AlertBook(self._database).acknowledge(key, who, time.time())

    def signed(self, session: Session) -> str:
        """Return what a cookie holds of a session."""
        return self._signer.sign(session.id).decode()

    def session(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie that this server signed and that lives."""
        if cookie is None:
            return None
        try:
            found = self._signer.unsign(cookie, max_age=int(SESSION_S))
        except BadSignature:
            return None
        return self.accounts.session(found.decode())


class _Place:
    """A thread, its connection and its store; opened by its first work."""

    def __init__(self, name: str, state: Path, listening_since_s: float, changed: Callable[[], None]) -> None:
        self._database = Database(state, busy_s=_BUSY_S)
        self._listening_since_s = listening_since_s
        self._changed = changed
        self._store: Store | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[Store], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, work)

    def _work(self, work: Callable[[Store], T]) -> T:
        try:
            if self._store is None:
                self._store = Store(self._database.open(), self._listening_since_s, self._changed)
            return work(self._store)
        except sqlite3.Error as error:
            raise StoreError(f"the store does not answer: {error}") from error

    def forget(self) -> None:
        store = self._store
        if store is not None:
            store.forget()

    def close(self) -> None:
        self._pool.submit(self._database.close)
        self._pool.shutdown()


class Desk:
    """Runs work on the threads that own the store; `close` ends them."""

    def __init__(self, state: Path, listening_since_s: float = 0.0) -> None:
        self._reader = _Place("page reads", state, listening_since_s, lambda: None)
        self._writer = _Place("page writes", state, listening_since_s, self._reader.forget)

    async def ask(self, work: Callable[[Store], T]) -> T:
        """Return what `work` makes of the store, which it only reads; raise StoreError where that cannot
        answer now."""
        return await self._reader.run(work)

    async def change(self, work: Callable[[Store], T]) -> T:
        """As `ask`, for work that writes: what is asked for after it sees what it wrote."""
        return await self._writer.run(work)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
