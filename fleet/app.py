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
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fleet.adapters.alert_webhook import AlertWebhook, WebhookSettings
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.database import Database
from fleet.adapters.earlier_reports import count_earlier_reports
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.msgspec_codec import decode
from fleet.adapters.registry import Registry
from fleet.adapters.signing_desk import now, open_store
from fleet.adapters.web_server import WebServer, open_page
from fleet.evaluator import Evaluator
from fleet.expiry_watch import ExpiryWatch, lasting
from fleet.gate import Gate, GateParts, Lists
from fleet.home_topics import Home
from fleet.keeping import Keep
from fleet.server import CLIENT_ID, Server
from fleet.signing import Signing
from fleet.web.address import WebAddress
from wire.adapters.paho_link import BrokerAddress, Login, PahoLink
from wire.deadline import Deadline
from wire.enrolment import SERVER_NAME
from wire.errors import SettingsError
from wire.topics import Topics

log = logging.getLogger(__name__)

#: A batch of reports is some ten thousand objects without a cycle among them: looking for cycles after each
#: 700, Python's default, took half of the time of decoding.
GARBAGE_AFTER: Final = 200_000
#: Not longer: mosquitto, as it comes, sends 20 messages and waits until they are acknowledged.
GATHER_S: Final = 0.01
_CONNECT_S: Final = 10.0


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
    gc.set_threshold(GARBAGE_AFTER)
    database = Database(settings.state).open()
    registry = Registry(database).open()
    registry.sweep()
    count_earlier_reports(database)
    page: WebServer | None = None
    link = PahoLink(settings.broker, CLIENT_ID, gather_s=GATHER_S)
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
        gc.freeze()  # what is known of each device is there to stay: no need to look through it again
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
