"""The server's loop: one turn after the other takes a batch, commits it, acknowledges it, and publishes what
should stand on the broker.

What a failing store did not take is not acknowledged, so the devices send it again; what the registry wants
is compared with what was published, and only the difference goes out. It runs on the main thread; who else
there is says fleet/app.py.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.labels import Labels
from fleet.adapters.msgspec_codec import decode, encode
from fleet.adapters.registry import Registry
from fleet.adapters.removal import Removal
from fleet.adapters.report_store import ReportStore
from fleet.adapters.retention import Retention
from fleet.auditing import Auditor
from fleet.evaluator import Evaluator
from fleet.gate import Gate
from fleet.home_topics import Home, topics_of
from fleet.ingest import Presence, StateWord, Word, understand
from fleet.keeping import Keep
from fleet.publishing import (
    Publication,
    Publisher,
    Standing,
    farewells,
    publications,
    withdrawals,
)
from fleet.releasing import seal
from fleet.signing import Signing
from fleet.truth_post import TruthPost
from wire.deadline import Deadline
from wire.enrolment import SERVER_NAME
from wire.errors import MessageError, SettingsError, UnavailableError
from wire.link import Incoming, Link, LinkDown, LinkUp, PublishRefused, SubscribeRefused
from wire.messages import Ack, Release
from wire.topics import UPWARD, DeviceTopic, Topics

log = logging.getLogger(__name__)

CLIENT_ID: Final = SERVER_NAME

_BATCH: Final = 1000
_WAIT_S: Final = 0.05
#: With so many words in a turn the next one waits for more: a commit costs the same for one or a hundred.
_BUSY: Final = 30
_GATHER_S: Final = 0.25
#: With so many, sums of single devices run behind: 400 a second.
_MANY: Final = 100
#: Acknowledgements of one write, some 100 bytes each.
_TOLD_AT_ONCE: Final = 5000
_LOOK_EVERY_S: Final = 0.25
_LONG_LOOK_S: Final = 0.5
_LOG_EVERY_S: Final = 10.0
_SIGN_EVERY_S: Final = 60.0
_STOP_CHECK_S: Final = 0.2
_SWEEP_EVERY_S: Final = 60.0
_SWEEP_STEP_S: Final = 0.2


class Server:
    """One turn after the other; each commits before it acknowledges."""

    def __init__(
        self,
        database: Database,
        link: Link,
        topics: Topics,
        gate: Gate | None = None,
        *,
        signing: Signing | None = None,
        evaluator: Evaluator | None = None,
        keep: Keep | None = None,
        home: Home | None = None,
    ) -> None:
        self._database = database
        self._gate = gate
        self._link = link
        self._topics = topics
        self._home = home
        self._store = ReportStore(database).open()
        self._reader = FleetReader(database)
        self._retention = Retention(database, keep or Keep())
        self._sweep = Deadline.after(0)
        self._registry = Registry(database).open()
        self._publisher = Publisher(link)
        echo = topics.device(CLIENT_ID, "echo")
        self._auditor = Auditor(link, self._publisher, echo, time.monotonic)
        self._looked = False
        self._busy = False
        self._look_pause_s = 0.0
        self._wanted: list[Publication] = []
        self._retired: list[Release] = []
        self._gone: list[str] = []
        self._removal = Removal(database)
        self._acks: dict[str, Ack] = {}
        # What a failing store did not take, and no device says again: the last words of each.
        self._unstored: dict[tuple[type[Word], str], Word] = {}
        self._signing = signing
        self._evaluator = evaluator
        self._truths = TruthPost(Labels(database), topics, time.monotonic)
        self._sign = Deadline.after(0)
        self._registry_version = -1
        self._settled = False
        self._uncollected = True  # a server that was killed may have left something
        self._look = Deadline.after(0)
        self._quiet = Deadline.after(0)

    def wait_for_broker(self, deadline: Deadline, stop: threading.Event) -> None:
        """Subscribe, and wait for the first connection, or until `stop`."""
        # At QoS 1 although all is acknowledged end to end: at QoS 0 mosquitto drops two thirds of a burst.
        self._link.subscribe([self._topics.every_device(leaf) for leaf in UPWARD])
        if self._gate:
            self._link.subscribe(self._gate.filters)
        reason = "no answer"
        while not deadline.passed:
            if stop.is_set():
                return
            match self._link.receive(min(_STOP_CHECK_S, deadline.left_s)):
                case LinkUp():
                    self._connected()
                    return
                case LinkDown(why):
                    reason = why
        raise UnavailableError(f"{reason}: is the broker running?")

    def turn(self) -> None:
        """Take what came, commit it, and publish what should stand on the broker.

        What a failing store (a full disk) did not take is not acknowledged: the devices send it again.
        """
        try:
            self._turn()
        except (UnavailableError, sqlite3.Error, OSError) as error:
            if self._quiet.passed:
                log.error("the store failed, what it did not take is not acknowledged: %s", error)
                self._quiet = Deadline.after(_LOG_EVERY_S)

    def _turn(self) -> None:
        auditing = not self._auditor.idle
        words = [*self._unstored.values(), *self._receive()]
        if words or self._store.complaining or self._store.behind:
            self._commit(words)
        self._send_acks()
        if self._gate:
            self._gate.turn(self._link, self._refuse)
        if self._look.passed:
            began_s = time.monotonic()
            self._look_at_registry()
            took_s = time.monotonic() - began_s
            self._look_pause_s = 5 * took_s if took_s > _LONG_LOOK_S else 0.0
            self._look = Deadline.after(max(_LOOK_EVERY_S, self._look_pause_s))
        if self._evaluator:
            self._publisher.pump(self._evaluator.publications)
        self._truths.turn(self._link)
        if self._sweep.passed:
            more = self._retention.step()
            self._sweep = Deadline.after(_SWEEP_STEP_S if more else _SWEEP_EVERY_S)
        self._auditor.begin(self._wanted)
        self._auditor.step()
        if auditing or not self._settled:
            self._settled = self._publisher.pump(self._wanted)
            if self._settled and self._retired:
                self._registry.cleared(release.name for release in self._retired)
                self._retired = []
                self._uncollected = True
            if self._settled and self._gone:
                self._removal.done(self._gone)
                self._gone = []
        if self._uncollected and self._settled and self._auditor.idle:  # an audit reads the files
            self._collect()

    def _collect(self) -> None:
        count = self._registry.collect(self._reader.held())
        self._uncollected = False
        if count:
            log.info("removed %d files of releases that nothing names any more", count)

    def _receive(self) -> list[Word]:
        words: list[Word] = []
        gathered = Deadline.after(_GATHER_S if self._busy else 0)
        for n in range(_BATCH):
            event = self._link.receive(0) if n else self._link.receive(_WAIT_S)
            if event is None and n and not gathered.passed:
                event = self._link.receive(gathered.left_s)
            match event:
                case None:
                    break
                case Incoming():
                    if not self._auditor.takes(event):
                        self._understand(event, words)
                case LinkUp():
                    log.info("connected")
                    self._connected()
                case LinkDown(reason):
                    log.warning("%s; trying again", reason)
                    self._auditor.link_lost()
                    self._heard(connected=False)
                case PublishRefused(_, reason):
                    log.warning("the broker refuses a message: %s", reason)
                case SubscribeRefused(topic, reason):
                    log.error("the broker refuses to send %s: %s", topic, reason)
        self._busy = len(words) >= _BUSY
        return words

    def _understand(self, message: Incoming, words: list[Word]) -> None:
        try:
            if self._gate and self._gate.takes(message):
                return
            word = understand(message, self._topics, decode)
        except MessageError as error:
            address = self._topics.parse(message.topic)
            self._refuse(error, address.device if isinstance(address, DeviceTopic) else "")
            return
        if word is not None:
            words.append(word)

    def _commit(self, words: list[Word]) -> None:
        self._unstored = {(type(w), w.device): w for w in words if isinstance(w, Presence | StateWord)}
        taken = self._store.take(words, later=len(words) >= _MANY)
        self._unstored.clear()
        if taken.new_devices:
            log.info("new here: %s", ", ".join(sorted(taken.new_devices)))
            self._registry.welcome(taken.new_devices)
            self._look_now()
        for refusal in taken.refused:
            log.warning("%s (further ones are only counted)", refusal)
        self._acks.update(self._store.acks(taken.acknowledge))

    def _refuse(self, error: MessageError, device: str = "") -> None:
        if self._store.count_refusal(error.kind, device):
            log.warning("%s (further ones are only counted)", error)

    def _heard(self, *, connected: bool) -> None:
        if self._evaluator:
            self._evaluator.hears(connected=connected)

    def _look_now(self) -> None:
        """Look at once, or, where a hundred thousand devices make that long, soon."""
        self._registry_version = -1
        self._look = Deadline.after(self._look_pause_s)

    def _connected(self) -> None:
        self._publisher.reconnected()
        self._auditor.reconnected()
        self._heard(connected=True)
        self._settled = False
        self._acks = self._store.acks()
        self._look_now()
        self._registry.welcome(self._store.devices)  # should a full disk have kept one out

    def _look_at_registry(self) -> None:
        version = self._registry.changed()
        if version == self._registry_version and not self._sign.passed:
            return
        self._registry_version = version
        self._erase()
        self._freshen()
        signing, sealed = self._signing, self._sealer()
        with self._database.snapshot():
            standing = Standing(
                self._registry.targets(),
                self._registry.plans() if sealed else (),
                self._registry.desired() if sealed else {},
                tuple(signing.files()) if signing else (),
            )
            standing = self._whole(standing, signing.signed_names() if signing else None)
            self._retired = self._registry.retired()
            gone = self._removal.withdrawn()
        self._removal.done([device for device in gone if device in standing.desired])  # it is back
        self._gone = [device for device in gone if device not in standing.desired]
        self._wanted = [
            *publications(standing, self._topics, self._registry.read_blob, sealed or seal),
            *withdrawals(self._retired, self._topics),
            *farewells(self._gone, self._topics, self._at_home),
        ]
        if not self._looked:  # an earlier server may have published them: that is cheaper to ask than to do
            self._publisher.doubt(self._wanted)
            self._looked = True
        self._settled = False

    def _at_home(self, device: str) -> tuple[str, ...]:
        return topics_of(self._home, device) if self._home else ()

    def _erase(self) -> None:
        """Erase the devices that a command asked us to."""
        for device in self._removal.asked():
            self._removal.erase(device)
            self._store.forget(device)
            self._acks.pop(device, None)
            log.info("%s is removed", device)

    def _sealer(self) -> Callable[[Any], bytes] | None:
        """Return what makes envelopes; None when their key is gone: then what stands on the broker stays."""
        if self._signing is None:
            return seal
        try:
            return self._signing.sealer()
        except SettingsError as error:
            log.error("%s", error)
            return None

    def _freshen(self) -> None:
        """Sign what is due; without the key for it, what was signed before stands until it expires."""
        self._sign = Deadline.after(_SIGN_EVERY_S)
        if self._signing is not None:
            try:
                self._signing.freshen()
            except SettingsError as error:
                log.error("%s", error)

    def _whole(self, standing: Standing, signed: frozenset[str] | None) -> Standing:
        """Leave out what cannot be published whole; a push of the same bundle mends it.

        `signed` are the releases that devices will find signed; None where nothing is.
        """
        found = {r.name: self._registry.publishable(r) for r in standing.targets.releases}
        broken = {name for name, release in found.items() if release is None}
        for release in standing.targets.releases:
            if release != found[release.name]:
                log.error("%s lacks a blob on the disk: push the same bundle again", release.name)
        releases = tuple(release for release in found.values() if release is not None)
        plans = [p for p in standing.plans if p.release not in broken]
        unsigned = [p for p in plans if signed is not None and p.release not in signed]
        for plan in unsigned:
            log.error("%s is not signed, its plan for %s waits: push it again", plan.release, plan.group)
        plans = [p for p in plans if p not in unsigned]
        targets = replace(standing.targets, releases=releases)
        return replace(standing, targets=targets, plans=tuple(plans))

    def _send_acks(self) -> None:
        """Tell devices what is committed. If that is lost, the device sends again, and is told again."""
        while self._acks:
            told = list(islice(self._acks.items(), _TOLD_AT_ONCE))
            if not self._link.tell([(self._topics.device(d, "ack"), encode(ack)) for d, ack in told]):
                return
            for device, _ in told:
                del self._acks[device]
