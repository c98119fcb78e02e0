"""Looks at the fleet again and again, keeps the alerts, and tells of them. Wiring, and one thread.

Rules:
- it reads what is committed, over a connection of its own; the server's loop never waits for it;
- after a look it rests at least `_REST` times as long as that took, so that it costs at most a twentieth of a
  core however large the fleet;
- while the server has no broker nobody looks: what we do not hear is no news of a device.

Threads: one, from `start` to `close`. The server's loop calls `hears` and reads `publications`: each is one
assignment.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from fleet.adapters.alert_book import AlertBook
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.health_reader import HealthReader
from fleet.adapters.history import History
from fleet.adapters.loss_reader import LossReader
from fleet.adapters.registry import Registry
from fleet.adapters.release_reader import ReleaseReader
from fleet.alert_kinds import KINDS, Subject
from fleet.alert_messages import retained
from fleet.alerts import Alert, Change, changes
from fleet.expiring import Notice, notices
from fleet.expiry_watch import lasting
from fleet.findings import FleetFacts, findings
from fleet.health_rules import Verdict, judge
from fleet.home_announcer import HomeAnnouncer
from fleet.home_topics import Home
from fleet.progress import rollout
from fleet.publishing import Publication, message
from wire.deadline import Clock
from wire.errors import EdgeflockError, SettingsError
from wire.topics import Topics

log = logging.getLogger(__name__)

_EVERY_S: Final = 15.0
_REST: Final = 19.0


class Channel(Protocol):
    """Somewhere that changes go. It does not wait."""

    def told(self, change: Change) -> None: ...


class Look:
    """One look after the other at the fleet in one database; of the thread that looks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._health = HealthReader(database)
        self._losses = LossReader(database)
        self._releases = ReleaseReader(database, History(database))

    def facts(self, now_s: float, listening_since_s: float) -> FleetFacts:
        """Return all that is to be seen at Unix time `now_s`."""
        devices = self._health.facts(now_s, listening_since_s)
        registry = Registry(self._database)
        plans, known = registry.plans(), FleetReader(self._database).devices(registry.desired())
        return FleetFacts(
            devices={facts.device: judge(facts) for facts in devices},
            releases=self._releases.facts((f.reported for f in devices if f.reported), now_s),
            rollouts=[rollout(plan, known, plans) for plan in plans],
            notices=self._notices(now_s),
            lost=self._losses.lost(now_s),
            health=devices,
        )

    def _notices(self, now_s: float) -> list[Notice]:
        try:
            return notices(lasting(self._database), datetime.fromtimestamp(now_s, UTC))
        except (SettingsError, OSError) as error:  # a file that cannot be read: the expiry watch says which
            log.debug("cannot tell what expires: %s", error)
            return []


class Evaluator:
    """Looks from `start` until `close`. `verdicts` are those of the last look, by device."""

    def __init__(
        self,
        state: Path,
        topics: Topics,
        channel: Channel | None = None,
        home: Home | None = None,
        *,
        every_s: float = _EVERY_S,
        clock: Clock = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._topics = topics
        self._channel = channel
        self._every_s = every_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._listening_since_s: float | None = None
        self._announcer = HomeAnnouncer(home) if home else None
        self._at_home: list[Publication] = []
        self._alerts: list[Publication] = []
        self._told: dict[str, int] = {}
        self._before: dict[str, Alert] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evaluator", daemon=True)
        self.verdicts: Mapping[str, Verdict] = {}
        self.publications: Sequence[Publication] = ()

    def start(self) -> Evaluator:
        self._thread.start()
        return self

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():  # a server that cannot start has none
            self._thread.join(timeout=10.0)

    def hears(self, *, connected: bool) -> None:
        """Take note that the server has its broker from now on, or has lost it."""
        self._listening_since_s = self._wall_clock() if connected else None

    def _run(self) -> None:
        database = Database(self._state).open()
        try:
            book, look = AlertBook(database), Look(database)
            begun, pause_s = False, 0.0
            while not self._ended.wait(pause_s):
                began_s = self._clock()
                try:
                    if not begun:
                        book.forget_pending()
                        begun = True
                    self._turn(book, look)
                except (EdgeflockError, sqlite3.Error, OSError) as error:
                    log.error("nobody looked at the fleet's health: %s", error)
                except Exception:  # the outermost loop: a fault here must not end the looks that follow
                    log.exception("nobody looked at the fleet's health")
                pause_s = max(self._every_s, _REST * (self._clock() - began_s))
        finally:
            database.close()

    def _turn(self, book: AlertBook, look: Look) -> None:
        listening_since_s = self._listening_since_s
        if listening_since_s is not None:
            now_s = self._wall_clock()
            facts = look.facts(now_s, listening_since_s)
            self.verdicts = facts.devices
            book.look(findings(facts), now_s)
            if self._announcer:
                self._at_home = self._announcer.publications(facts, now_s)
        standing = book.standing()
        self._alerts = self._messages(standing)
        self.publications = [*self._alerts, *self._at_home]
        for change in changes(self._told, standing, self._before):
            self._tell(change)
        self._before = standing

    def _tell(self, change: Change) -> None:
        alert = change.alert
        if change.what == "cleared":
            self._told.pop(alert.key, None)
            log.info("over: %s", alert.text)
        else:
            self._told[alert.key] = len(alert.findings)
            log.warning("%s: %s", alert.key, alert.text)
        if self._channel is not None:
            self._channel.told(change)

    def _messages(self, standing: Mapping[str, Alert]) -> list[Publication]:
        """Return what should be on the broker: each alert, and nothing where there was one before.

        A device says what its releases are called: an alert whose key makes no topic stays off the broker.
        """
        known = {kind.name for kind in KINDS.values() if kind.subject in (Subject.DEVICE, Subject.FLEET)}
        known |= {publication.topic.removeprefix(self._topics.alert("")) for publication in self._alerts}
        payloads = dict.fromkeys(known, b"") | {key: retained(a) for key, a in standing.items()}
        topics = {self._topics.alert(key): payload for key, payload in payloads.items()}
        return [message(t, data) for t, data in topics.items() if self._topics.parse(t) is not None]
