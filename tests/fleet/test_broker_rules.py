"""What the broker lets a device do, with a real mosquitto and real certificates: one row, one rule.

Nothing here waits for nothing to come: behind each forbidden message the same sender sends one that is
allowed, and what the watcher, who may read everything, has heard before that one is all there was.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from fleet import broker_start
from fleet.adapters import pki
from fleet.adapters.broker import RunningBroker, start_configured
from fleet.adapters.broker_lists import BrokerLists
from fleet.adapters.signing_desk import login_line, make_token
from fleet.broker_setup import DEVICE_READS, DEVICE_WRITES
from tests.support.locked_broker import WATCHER, WRITER, LockedBroker, Voice, needs_mosquitto, now
from wire.adapters.paho_link import BrokerAddress, Login, PahoLink
from wire.adapters.tls import TlsFiles, load, make_context
from wire.enrolment import SERVER_NAME, Claim
from wire.link import LinkDown, LinkEvent, LinkUp
from wire.topics import LEAVES, Topics

pytestmark = needs_mosquitto

TOPICS: Final = Topics()
SHA: Final = "ab" * 32
MINE = Claim.of("a-claim-token-of-the-tests", "pi-1")
OTHER = Claim.of("another-claim-token-of-the-tests", "pi-2")

HOME: Final = {leaf: f"homeassistant/device/edgeflock__dev-a/{leaf}" for leaf in ("config", "state")}
NOT_AUTHORIZED: Final = 0x87
PROTECTED: Final = (
    *(TOPICS.device("dev-b", leaf) for leaf in LEAVES),
    *(TOPICS.device("dev-a", leaf) for leaf in LEAVES if leaf not in DEVICE_WRITES),
    TOPICS.meta("root.json"), TOPICS.meta("targets.json"), TOPICS.meta("timestamp.json"),
    TOPICS.blob(SHA, 0), TOPICS.plan("all", "digits"),
    TOPICS.claim(MINE.address, "csr"), TOPICS.claim(MINE.address, "crt"),
    *HOME.values(),
    "edgeflock/d/dev-a", "edgeflock/d/dev-a/other", "edgeflock/d/dev-a/event/deeper", "edgeflock/other",
    "d/dev-a/event", "other/d/dev-a/event", "$SYS/broker/uptime", "$CONTROL/dynamic-security/v1",
)  # fmt: skip
#: A filter that a device may ask for, and a topic that it would carry.
UNREADABLE: Final = (
    *((TOPICS.device("dev-b", leaf), TOPICS.device("dev-b", leaf)) for leaf in LEAVES),
    *(("#", TOPICS.device("dev-b", leaf)) for leaf in LEAVES),
    *((f"edgeflock/d/+/{leaf}", TOPICS.device("dev-b", leaf)) for leaf in ("cmd", "crt", "event")),
    ("edgeflock/d/dev-b/#", TOPICS.device("dev-b", "desired")),
    ("+/d/dev-b/+", TOPICS.device("dev-b", "desired")),
    ("edgeflock/claim/+/csr", TOPICS.claim(MINE.address, "csr")),
    ("edgeflock/claim/#", TOPICS.claim(MINE.address, "crt")),
    ("edgeflock/d/dev-a/other", "edgeflock/d/dev-a/other"),
    ("other/#", "other/anything"),
)  # fmt: skip

_counter = itertools.count()


def fresh() -> bytes:
    return f"message {next(_counter)}".encode()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedBroker]:
    broker = LockedBroker.start(tmp_path_factory.mktemp("fleet"), home="homeassistant")
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def voices(broker: LockedBroker) -> Iterator[dict[str, Voice]]:
    """The ones that stay connected."""
    names = ("dev-a", "dev-b", WATCHER, WRITER, SERVER_NAME)
    made = {name: Voice(broker.address(broker.identity(name)), name) for name in names}
    made[WATCHER].subscribe("#")
    yield made
    for voice in made.values():
        assert voice.connected, "a test has disturbed another's connection"
        voice.close()


def publishes(voice: Voice, topic: str, own: str, watcher: Voice) -> tuple[int, list[str]]:
    """Publish on `topic`, then on `own`; return the first reason and on which topics the first was heard."""
    payload, fence = fresh(), fresh()
    reason = voice.publish(topic, payload)
    voice.publish(own, fence)
    return reason, [t for t, p in watcher.hear_until(fence) if p == payload]


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", DEVICE_WRITES)
def test_a_device_writes_its_own(voices: dict[str, Voice], leaf: str) -> None:
    topic = TOPICS.device("dev-a", leaf)  # type: ignore[arg-type]
    reason, heard = publishes(voices["dev-a"], topic, TOPICS.device("dev-a", "event"), voices[WATCHER])
    assert (reason, heard) == (0, [topic])


@pytest.mark.parametrize("topic", PROTECTED)
def test_a_device_writes_nothing_else(voices: dict[str, Voice], topic: str) -> None:
    reason, heard = publishes(voices["dev-a"], topic, TOPICS.device("dev-a", "event"), voices[WATCHER])
    assert (reason, heard) == (NOT_AUTHORIZED, [])


@pytest.mark.parametrize(
    "topic",
    [TOPICS.device("dev-a", "reported"), TOPICS.device("dev-a", "online"), TOPICS.device("dev-a", "csr"),
     TOPICS.device("dev-a", "telemetry"), "edgeflock/d/dev-a/other", "edgeflock/claim/x/crt", "other",
     "homeassistant/sensor/x/config", "homeassistant/device/x/set"],
)  # fmt: skip
def test_the_server_speaks_for_no_device(voices: dict[str, Voice], topic: str) -> None:
    own = TOPICS.meta("targets.json")
    reason, heard = publishes(voices[SERVER_NAME], topic, own, voices[WATCHER])
    assert (reason, heard) == (NOT_AUTHORIZED, [])


@pytest.mark.parametrize(
    "topic",
    [*(TOPICS.device("dev-a", leaf) for leaf in DEVICE_READS), TOPICS.meta("root.json"), TOPICS.blob(SHA, 1),
     TOPICS.plan("all", "digits"), *HOME.values()],
)  # fmt: skip
def test_the_server_writes_what_devices_read(voices: dict[str, Voice], topic: str) -> None:
    reason, heard = publishes(voices[SERVER_NAME], topic, TOPICS.meta("targets.json"), voices[WATCHER])
    expected = (NOT_AUTHORIZED, []) if topic.endswith("/echo") else (0, [topic])
    assert (reason, heard) == expected


# --- reading ------------------------------------------------------------------------------------


def hears(voices: dict[str, Voice], topic_filter: str, topic: str) -> bool:
    """Return whether dev-a, subscribed to `topic_filter`, hears a message on `topic`."""
    listener, fence_topic = voices["dev-a"], TOPICS.device("dev-a", "cmd")
    payload, fence = fresh(), fresh()
    listener.subscribe(fence_topic)
    listener.subscribe(topic_filter)
    assert voices[WRITER].publish(topic, payload) in (0, 0x10)
    voices[WRITER].publish(fence_topic, fence)
    heard = listener.hear_until(fence)
    listener.unsubscribe(topic_filter)
    return (topic, payload) in heard


@pytest.mark.parametrize(
    "topic",
    [*(TOPICS.device("dev-a", leaf) for leaf in DEVICE_READS), TOPICS.meta("targets.json"),
     TOPICS.blob(SHA, 0), TOPICS.plan("all", "digits")],
)  # fmt: skip
def test_a_device_reads_its_own_and_what_is_for_all(voices: dict[str, Voice], topic: str) -> None:
    assert hears(voices, topic, topic)


@pytest.mark.parametrize(("topic_filter", "topic"), UNREADABLE)
def test_a_device_reads_nothing_else(voices: dict[str, Voice], topic_filter: str, topic: str) -> None:
    assert not hears(voices, topic_filter, topic)


def test_a_retained_message_of_another_device_stays_unread(voices: dict[str, Voice]) -> None:
    topic, payload, fence = TOPICS.device("dev-b", "desired"), fresh(), fresh()
    voices[WRITER].publish(topic, payload, retain=True)
    listener, fence_topic = voices["dev-a"], TOPICS.device("dev-a", "cmd")
    listener.subscribe(fence_topic)
    listener.subscribe("#")
    voices[WRITER].publish(fence_topic, fence)
    assert payload not in [p for _, p in listener.hear_until(fence)]
    listener.unsubscribe("#")


# --- being another --------------------------------------------------------------------------------


def test_a_client_id_of_another_takes_over_nothing(broker: LockedBroker, voices: dict[str, Voice]) -> None:
    liar = Voice(broker.address(broker.identity("dev-c")), "dev-b")
    try:
        for leaf in ("event", "reported"):
            topic = TOPICS.device("dev-b", leaf)  # type: ignore[arg-type]
            heard = publishes(liar, topic, TOPICS.device("dev-c", "event"), voices[WATCHER])
            assert heard == (NOT_AUTHORIZED, [])
        assert voices["dev-b"].publish(TOPICS.device("dev-b", "event"), fresh()) == 0
        assert voices["dev-b"].connected
    finally:
        liar.close()


def test_a_user_name_of_another_gives_no_rights(broker: LockedBroker, voices: dict[str, Voice]) -> None:
    liar = Voice(broker.address(broker.identity("dev-c")), "dev-c", login=(SERVER_NAME, ""))
    try:
        reason, heard = publishes(
            liar, TOPICS.plan("all", "digits"), TOPICS.device("dev-c", "event"), voices[WATCHER]
        )
        assert (reason, heard) == (NOT_AUTHORIZED, [])
    finally:
        liar.close()


@pytest.mark.parametrize("name", ["+", "#", "dev-b/x", "../dev-b", "dev-b/#", "%u", "$SYS"])
def test_a_name_made_of_wildcards_is_nobody(
    broker: LockedBroker, voices: dict[str, Voice], name: str
) -> None:
    liar = Voice(broker.address(broker.identity(name)), name)
    try:
        for topic in (TOPICS.device("dev-b", "event"), TOPICS.device("dev-b", "desired"), TOPICS.meta("x")):
            assert liar.publish(topic, b"from nobody") != 0
        fence = fresh()
        voices["dev-a"].publish(TOPICS.device("dev-a", "event"), fence)
        assert b"from nobody" not in [p for _, p in voices[WATCHER].hear_until(fence)]
    finally:
        liar.close()


@pytest.mark.parametrize(
    "topic", [TOPICS.device("dev-b", "online"), TOPICS.device("dev-b", "cmd"), TOPICS.meta("root.json")]
)
def test_a_last_will_on_anothers_topic_is_dropped(
    broker: LockedBroker, voices: dict[str, Voice], topic: str
) -> None:
    payload, fence = fresh(), fresh()
    Voice(broker.address(broker.identity("dev-c")), will=(topic, payload)).vanish()
    own = TOPICS.device("dev-d", "online")
    Voice(broker.address(broker.identity("dev-d")), will=(own, fence)).vanish()
    assert payload not in [p for _, p in voices[WATCHER].hear_until(fence)]


# --- certificates ---------------------------------------------------------------------------------


def first_event(address: BrokerAddress, name: str = "dev-x") -> LinkEvent | None:
    link = PahoLink(address, name)
    link.start()
    try:
        return link.receive(10)
    finally:
        link.close()


def test_a_good_certificate_is_taken(broker: LockedBroker) -> None:
    assert first_event(broker.address(broker.identity("dev-x"))) == LinkUp()


def foreign(_: LockedBroker) -> pki.Authority:
    return pki.Authority.make("devices", now())  # the same name as ours


REFUSED: Final[dict[str, Callable[[LockedBroker], Path | None]]] = {
    "none": lambda _: None,
    "of a foreign CA": lambda b: b.identity("dev-x", authority=foreign(b)),
    "of a foreign CA, with the server's name": lambda b: b.identity(SERVER_NAME, authority=foreign(b)),
    "expired": lambda b: b.identity("dev-x", life=dt.timedelta(seconds=-5)),
    "not yet valid": lambda b: b.identity(
        "dev-x", at=now() + dt.timedelta(days=366), life=dt.timedelta(days=9)
    ),
    "the broker's": lambda b: joined(b.folder / "of-the-broker.pem", b.files.folder),
}


def joined(path: Path, folder: Path) -> Path:
    path.write_bytes((folder / "broker.key").read_bytes() + (folder / "broker.crt").read_bytes())
    return path


@pytest.mark.parametrize("kind", REFUSED)
def test_a_certificate_that_is_not_ours_is_refused(broker: LockedBroker, kind: str) -> None:
    event = first_event(broker.address(REFUSED[kind](broker)))
    assert isinstance(event, LinkDown)
    assert event.refused
    assert "certificate" in event.reason


def test_a_client_without_tls_is_not_heard(broker: LockedBroker) -> None:
    event = first_event(BrokerAddress("127.0.0.1", broker.plan.port))
    assert isinstance(event, LinkDown)


def test_a_device_refuses_a_broker_of_another_ca(broker: LockedBroker) -> None:
    wrong = broker.files.folder / "device-ca.pem"
    event = first_event(broker.address(broker.identity("dev-x"), ca=wrong))
    assert isinstance(event, LinkDown)
    assert "broker's certificate is not to be trusted" in event.reason
    assert not event.refused


def test_a_device_refuses_a_broker_of_another_name(broker: LockedBroker) -> None:
    event = first_event(broker.address(broker.identity("dev-x"), host="localhost"))
    assert isinstance(event, LinkDown)
    assert "Hostname mismatch" in event.reason


# --- revocation -----------------------------------------------------------------------------------


def serial_of(identity: Path) -> str:
    return identity.stem


def test_a_revoked_device_is_cut_off_and_the_others_come_back(tmp_path: Path) -> None:
    own = LockedBroker.start(tmp_path)
    lists = BrokerLists(own.files, own.running, own.claims, "", now, in_force=[])
    names = ("dev-r", "dev-s", "dev-t")
    identities = {name: own.identity(name) for name in names}
    links = {name: PahoLink(own.address(identities[name]), name) for name in names}
    try:
        for link in links.values():
            link.start()
            assert link.receive(10) == LinkUp()
        revoked: list[str] = []
        for name in names[:2]:  # one right after the other: each list replaces the one before
            revoked.append(serial_of(identities[name]))
            lists.write_revoked(revoked)
        assert comes_back(links["dev-t"])
        for name in names[:2]:
            assert not comes_back(links[name])
            refusal = first_event(own.address(identities[name]), name)
            assert isinstance(refusal, LinkDown)
            assert refusal.refused
    finally:
        for link in links.values():
            link.close()
        own.stop()


def test_a_revocation_during_the_start_is_put_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fleet revoke` writes the list when the broker has read it, and before the server looks."""
    own = LockedBroker.start(tmp_path)
    own.stop()
    identity = own.identity("dev-r")

    def start_and_revoke(config: Path, address: BrokerAddress) -> RunningBroker:
        running = start_configured(config, address)
        own.files.write_crl([serial_of(identity)], now())
        return running

    monkeypatch.setattr(broker_start, "start_configured", start_and_revoke)
    arguments = argparse.Namespace(
        state=tmp_path, broker=None, port=None, claim_port=None, prefix=None, certificate_days=90.0,
        unsigned=False, alert_webhook=None, alert_secret_file=None, home_assistant=None,
    )  # fmt: skip
    with broker_start.server_settings(arguments) as settings:
        assert first_event(own.address(identity), "dev-r") == LinkUp()
        assert settings.gate is not None
        assert serial_of(identity) not in settings.gate.lists.revoked
        settings.gate.lists.write_revoked([serial_of(identity)])
        refusal = first_event(own.address(identity), "dev-r")
        assert isinstance(refusal, LinkDown)
        assert refusal.refused


def comes_back(link: PahoLink) -> bool:
    """Return whether a link that was cut stands again, or is refused three times (False).

    Once is not enough: a broker that is ending closes what it has just accepted, too.
    """
    refusals = 0
    while refusals < 3:
        match link.receive(30):
            case LinkDown(_, refused):
                refusals = refusals + 1 if refused else 0
            case LinkUp():
                return True
            case None:
                raise AssertionError("neither back nor refused")
    return False


# --- the broker for enrolment ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def keepers(broker: LockedBroker) -> Iterator[dict[str, Voice]]:
    """On the broker for enrolment: the server, and the tests' own two."""
    passwords = {name: make_token() for name in (SERVER_NAME, WATCHER, WRITER)}
    claims = {claim.address: claim.password for claim in (MINE, OTHER)}
    broker.files.write_logins([login_line(*pair) for pair in (passwords | claims).items()])
    broker.claims.restart()
    made = {name: Voice(broker.claim_address, login=(name, passwords[name])) for name in passwords}
    made[WATCHER].subscribe("#")
    yield made
    for voice in made.values():
        assert voice.connected, "a test has disturbed another's connection"
        voice.close()


@pytest.fixture(scope="module")
def claimant(broker: LockedBroker, keepers: dict[str, Voice]) -> Iterator[Voice]:
    voice = Voice(broker.claim_address, SERVER_NAME, login=(MINE.address, MINE.password))
    yield voice
    voice.close()


@pytest.mark.parametrize(
    ("user", "password"),
    [("", ""), (MINE.address, ""), (MINE.address, OTHER.password), ("dev-a", ""), (SERVER_NAME, ""),
     ("+", MINE.password), ("#", MINE.password), ("00" * 32, MINE.password)],
)  # fmt: skip
def test_a_stranger_cannot_connect_for_enrolment(
    broker: LockedBroker, keepers: dict[str, Voice], user: str, password: str
) -> None:
    login = (user, password) if user else None
    voice = Voice(broker.claim_address, "stranger", login=login)
    voice.close()
    assert voice.connack == NOT_AUTHORIZED


def test_a_certificate_gives_nothing_there(broker: LockedBroker, keepers: dict[str, Voice]) -> None:
    tls = broker.address(broker.identity(SERVER_NAME)).tls
    voice = Voice(BrokerAddress("127.0.0.1", broker.plan.claim_port, tls), SERVER_NAME)
    voice.close()
    assert voice.connack == NOT_AUTHORIZED


def test_a_claim_gives_nothing_on_the_fleets_broker(broker: LockedBroker) -> None:
    link = PahoLink(broker.address(None), MINE.address, login=Login(MINE.address, MINE.password))
    link.start()
    refusal = link.receive(10)
    link.close()
    assert isinstance(refusal, LinkDown)
    assert refusal.refused


def test_a_claim_writes_its_request(claimant: Voice, keepers: dict[str, Voice]) -> None:
    own = TOPICS.claim(MINE.address, "csr")
    assert publishes(claimant, own, own, keepers[WATCHER]) == (0, [own])


@pytest.mark.parametrize(
    "topic",
    [TOPICS.claim(OTHER.address, "csr"), TOPICS.claim(MINE.address, "crt"), TOPICS.device("dev-a", "event"),
     TOPICS.claim(OTHER.address, "crt"), TOPICS.device("dev-a", "csr"), TOPICS.meta("root.json"),
     TOPICS.blob(SHA, 0), TOPICS.plan("all", "digits"), TOPICS.device(MINE.address, "event")],
)  # fmt: skip
def test_a_claim_writes_nothing_else(claimant: Voice, keepers: dict[str, Voice], topic: str) -> None:
    own = TOPICS.claim(MINE.address, "csr")
    assert publishes(claimant, topic, own, keepers[WATCHER]) == (NOT_AUTHORIZED, [])


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [("#", TOPICS.claim(OTHER.address, "crt")), ("edgeflock/claim/+/crt", TOPICS.claim(OTHER.address, "crt")),
     ("edgeflock/claim/+/csr", TOPICS.claim(OTHER.address, "csr")), ("#", TOPICS.meta("targets.json")),
     ("#", TOPICS.device("dev-a", "cmd")), ("#", TOPICS.claim(MINE.address, "csr"))],
)  # fmt: skip
def test_a_claim_hears_its_answer_and_nothing_else(
    claimant: Voice, keepers: dict[str, Voice], topic_filter: str, topic: str
) -> None:
    payload, fence = fresh(), fresh()
    claimant.subscribe(TOPICS.claim(MINE.address, "crt"))
    claimant.subscribe(topic_filter)
    keepers[WRITER].publish(topic, payload)
    keepers[SERVER_NAME].publish(TOPICS.claim(MINE.address, "crt"), fence)
    assert payload not in [p for _, p in claimant.hear_until(fence)]
    claimant.unsubscribe(topic_filter)


def test_strangers_who_only_sit_there_leave_room_for_a_claim(
    broker: LockedBroker, keepers: dict[str, Voice]
) -> None:
    """They speak TLS and say nothing more; mosquitto drops them after a minute and a half."""
    context = make_context()
    load(context, TlsFiles(broker.files.broker_ca))
    here = ("127.0.0.1", broker.plan.claim_port)
    with ExitStack() as strangers:
        for _ in range(200):
            sock = strangers.enter_context(socket.create_connection(here, timeout=10))
            strangers.enter_context(context.wrap_socket(sock, server_hostname="127.0.0.1"))
        link = PahoLink(broker.claim_address, MINE.address, login=Login(MINE.address, MINE.password))
        link.start()
        event = link.receive(10)
        link.close()
    assert event == LinkUp()


def test_nothing_is_retained_there(broker: LockedBroker, keepers: dict[str, Voice]) -> None:
    voice = Voice(broker.claim_address, login=(OTHER.address, OTHER.password))
    reason = voice.publish(TOPICS.claim(OTHER.address, "csr"), fresh(), retain=True)
    voice.close()
    assert reason != 0


def test_the_server_speaks_only_in_answers_there(keepers: dict[str, Voice]) -> None:
    own = TOPICS.claim(MINE.address, "crt")
    for topic in (TOPICS.claim(MINE.address, "csr"), TOPICS.device("dev-a", "cmd"), TOPICS.meta("root.json")):
        assert publishes(keepers[SERVER_NAME], topic, own, keepers[WATCHER]) == (NOT_AUTHORIZED, [])
