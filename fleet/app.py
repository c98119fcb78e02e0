"""The server: wiring, and nothing else.

Threads: paho's network thread puts messages into the link's queue; the main thread does everything
else in turns: take a batch, commit it, acknowledge it, publish what the registry wants. The evaluator
(fleet/evaluator.py) looks at what is committed from a thread and a connection of its own, and a webhook has
another thread. One process holds the database for reports; commands write their wishes beside it, and SQLite
keeps them apart.

The page, where there is one, has two threads of its own: `page` talks HTTP (uvicorn's loop), `page store`
has a connection of its own to the database. Nothing crosses to the main thread: what a person does on the
page is written there as a command writes it, and the next turn publishes it.
"""

from __future__ import annotations

import datetime as dt
import gc
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.adapters.alert_webhook import AlertWebhook, WebhookSettings
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.database import Database
from fleet.adapters.earlier_reports import count_earlier_reports
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.labels import Labels
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.msgspec_codec import decode, encode
from fleet.adapters.registry import Registry
from fleet.adapters.removal import Removal
from fleet.adapters.report_store import ReportStore
from fleet.adapters.retention import Retention
from fleet.adapters.signing_desk import now, open_store
from fleet.adapters.web_server import WebServer, open_page
from fleet.auditing import Auditor
from fleet.evaluator import Evaluator
from fleet.expiry_watch import ExpiryWatch, lasting
from fleet.gate import Gate, GateParts, Lists
from fleet.home_topics import Home, topics_of
from fleet.ingest import Word, understand
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
from fleet.web.address import WebAddress
from wire.adapters.paho_link import BrokerAddress, Login, PahoLink
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
#: A batch of reports is some ten thousand objects without a cycle among them: looking for cycles after each
#: 700, Python's default, took half of the time of decoding.
_GARBAGE_AFTER: Final = 200_000
_LOOK_EVERY_S: Final = 0.25
_LONG_LOOK_S: Final = 0.5
_CONNECT_S: Final = 10.0
_LOG_EVERY_S: Final = 10.0
_SIGN_EVERY_S: Final = 60.0
_STOP_CHECK_S: Final = 0.2
_SWEEP_EVERY_S: Final = 60.0
_SWEEP_STEP_S: Final = 0.2


@dataclass(frozen=True)
class GateSettings:
    """What the server needs to let devices in: its CA, the life of a certificate, and the brokers' lists."""

    files: BrokerFiles
    life: dt.timedelta
    lists: Lists
    #: The broker for enrolment and our login there; None where there is none.
    claims: tuple[BrokerAddress, Login] | None


@dataclass(frozen=True)
class ServerSettings:
    """Where the server's files and its broker are."""

    state: Path
    broker: BrokerAddress
    prefix: str = "edgeflock"
    #: Where `fleet init` has made certificates.
    gate: GateSettings | None = None
    unsigned: bool = False
    #: Where changes of alerts are posted; None: nowhere.
    alerts: WebhookSettings | None = None
    keep: Keep = field(default_factory=Keep)
    #: Where the page is; None for no page.
    page: WebAddress | None = None
    #: Where Home Assistant looks for devices; None: it is told nothing.
    home: Home | None = None


def serve(settings: ServerSettings, stop: threading.Event) -> None:
    """Be the server until `stop`; raise UnavailableError when the broker does not answer at the start."""
    gc.set_threshold(_GARBAGE_AFTER)
    database = Database(settings.state).open()
    registry = Registry(database).open()
    registry.sweep()
    count_earlier_reports(database)
    page: WebServer | None = None
    link = PahoLink(settings.broker, CLIENT_ID)
    gate = _open_gate(settings, settings.gate, database) if settings.gate else None
    webhook = _open_webhook(settings)
    evaluator = Evaluator(settings.state, Topics(settings.prefix), webhook, settings.home)
    try:
        signing = _signing(settings, registry, database)
        server = Server(
            database,
            link,
            Topics(settings.prefix),
            gate,
            signing=signing,
            evaluator=evaluator.start(),
            keep=settings.keep,
            home=settings.home,
        )
        link.start()
        server.wait_for_broker(Deadline.after(_CONNECT_S), stop)
        page = open_page(settings.state, settings.page) if settings.page else None
        log.info("serving the fleet in %s through %s", settings.state, settings.broker)
        if signing is None:
            log.warning("unsigned: whoever reaches the broker decides what the devices run")
        expiries = ExpiryWatch(lambda: lasting(database), time.monotonic)
        while not stop.is_set():
            server.turn()
            expiries.turn()
    finally:
        link.close()
        evaluator.close()
        if webhook:
            webhook.close()
        if gate:
            gate.close()
        if page:
            page.stop()
        database.close()


def _open_webhook(settings: ServerSettings) -> AlertWebhook | None:
    return AlertWebhook(settings.alerts, fleet=settings.prefix).start() if settings.alerts else None


def _open_gate(settings: ServerSettings, gate: GateSettings, database: Database) -> Gate:
    store = open_store(database, gate.files.authority(), gate.life)
    claims = PahoLink(gate.claims[0], SERVER_NAME, login=gate.claims[1]) if gate.claims else None
    return Gate(GateParts(store, gate.lists, claims, Topics(settings.prefix), decode, now)).open()


def _signing(settings: ServerSettings, registry: Registry, database: Database) -> Signing | None:
    """Return what signs for this fleet, None where it has no keys and shall have none."""
    signing = Signing(registry, MetadataStore(database), settings.state, lambda: datetime.now(UTC))
    if settings.unsigned:
        if signing.active:
            raise SettingsError(f"{settings.state} has keys, its devices expect signatures: no --unsigned")
        return None
    signing.root()
    signing.sealer()
    return signing


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
        words = self._receive()
        if words or self._store.complaining:
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
        taken = self._store.take(words)
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
        for device in list(self._acks):
            topic = self._topics.device(device, "ack")
            if not self._link.publish(topic, encode(self._acks[device]), retain=True, assured=False):
                return
            del self._acks[device]
