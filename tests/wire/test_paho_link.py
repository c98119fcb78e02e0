"""The link over paho: what counts as acknowledged, and that nothing is lost on a socket that reads ahead."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, Final

import paho.mqtt.client as mqtt
import pytest

from tests.support.locked_broker import LockedBroker, needs_mosquitto
from wire.adapters import paho_link
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.adapters.publish_tap import PublishTap, packet
from wire.deadline import Deadline, wait_until
from wire.enrolment import SERVER_NAME
from wire.link import Incoming, LinkUp
from wire.topics import Topics

_CONNACK: Final = bytes([0x20, 3, 0, 0, 0])
#: A client numbers its messages from 1 to this, and begins anew.
_NUMBERS: Final = 65_535
_TOPIC: Final = "edgeflock/d/pi-1/event"


class DeafBroker:
    """Lets one client in, says what it was told to, takes everything, and acknowledges nothing."""

    def __init__(self, says: bytes = b"") -> None:
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken = b""
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> DeafBroker:
        self._thread.start()
        return self

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress("127.0.0.1", self._listener.getsockname()[1])

    def has(self, payload: bytes) -> bool:
        return wait_until(lambda: payload in self._taken, Deadline.after(10))

    def stop(self) -> None:
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(_CONNACK + self._says)
            with suppress(ConnectionResetError):  # a client that closes with something unread
                while piece := connection.recv(1 << 16):
                    self._taken += piece


@pytest.fixture
def deaf_broker() -> Iterator[DeafBroker]:
    broker = DeafBroker().start()
    yield broker
    broker.stop()


def connected(link: PahoLink) -> PahoLink:
    link.start()
    assert link.receive(10) == LinkUp()
    return link


def send_what_may_be_lost(link: PahoLink, broker: DeafBroker) -> None:
    """Send two at QoS 0, and return when both have arrived."""
    for payload in (b"may be lost", b"may be lost too"):
        message = (_TOPIC, payload)
        assert wait_until(lambda m=message: link.tell([m]), Deadline.after(10))
    assert broker.has(b"may be lost too")


def skip_numbers(link: PahoLink, count: int) -> None:
    """Let paho number as many messages as if they had been sent."""
    for _ in range(count):
        link._client._mid_generate()


def test_one_that_nobody_acknowledges_is_no_acknowledgement_of_a_later_one(
    deaf_broker: DeafBroker,
) -> None:
    with closing(connected(PahoLink(deaf_broker.address, "pi-1"))) as link:
        send_what_may_be_lost(link, deaf_broker)
        skip_numbers(link, _NUMBERS - 2)
        assert link.publish(_TOPIC, b"must arrive")
        assert link.unacknowledged == 1


def test_one_that_nobody_acknowledges_is_no_acknowledgement_of_an_earlier_one(
    deaf_broker: DeafBroker,
) -> None:
    with closing(connected(PahoLink(deaf_broker.address, "pi-1"))) as link:
        assert link.publish(_TOPIC, b"must arrive")
        skip_numbers(link, _NUMBERS - 1)
        send_what_may_be_lost(link, deaf_broker)
        assert link.unacknowledged == 1


def test_a_link_that_has_no_room_still_tells_the_broker_that_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paho_link, "_MAX_EVENTS", 1)
    monkeypatch.setattr(paho_link, "_ALIVE_EVERY_S", 0.05)
    broker = DeafBroker(b"".join(packet(_TOPIC, bytes(100)) for _ in range(2000))).start()
    with closing(PahoLink(broker.address, "pi-1")) as link:
        link.start()
        assert broker.has(b"\xc0\x00\xc0\x00"), "a PINGREQ, and another one"
    broker.stop()


class FloodingBroker(DeafBroker):
    """Says what it was told to, and then for ever what asks for no answer; hears beside it."""

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(_CONNACK + self._says)
            with suppress(OSError):
                while True:
                    connection.sendall(packet(_TOPIC, bytes(1000)))
                    if select.select([connection], [], [], 0.0005)[0]:
                        self._taken += connection.recv(4096)


def test_under_a_flood_of_what_asks_for_no_answer_the_rest_is_acknowledged() -> None:
    assured = b"\x32\x08\x00\x01a\x00\x07\x00hi"
    broker = FloodingBroker(assured).start()
    with closing(PahoLink(broker.address, "pi-1", gather_s=0.01)) as link:
        link.start()
        deadline = Deadline.after(10)
        while b"\x40\x02\x00\x07" not in broker._taken:
            link.receive(0)
            assert not deadline.passed, "no PUBACK"
    broker.stop()


def test_messages_are_a_sign_of_life_for_a_broker_whose_answer_stands_behind_them() -> None:
    link = PahoLink(BrokerAddress("127.0.0.1", 1), "pi-1")
    link._client._ping_t = 1.0
    link._take([Incoming("a", b"")], b"")
    assert link._client._ping_t == 0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedBroker]:
    broker = LockedBroker.start(tmp_path_factory.mktemp("fleet"))
    yield broker
    broker.stop()


class _LaterClient(mqtt.Client):
    """paho as it may become: what makes its socket has another name."""

    _make_socket = mqtt.Client._create_socket

    def reconnect(self) -> Any:
        self._create_socket = self._make_socket  # type: ignore[method-assign]  # an overriding one is not seen
        return super().reconnect()


class _LinkOfLaterClient(paho_link._Client, _LaterClient):
    pass


@needs_mosquitto
@pytest.mark.parametrize("name_is_gone", [False, True], ids=["this paho", "a paho without the name"])
def test_over_tls_all_sizes_arrive_in_order(
    broker: LockedBroker, monkeypatch: pytest.MonkeyPatch, *, name_is_gone: bool
) -> None:
    if name_is_gone:
        monkeypatch.setattr(paho_link, "_Client", _LinkOfLaterClient)
    payloads = [bytes([i % 256]) * size for i in range(12) for size in (0, 1, 16_384, 65_536, 66_000, i)]
    topic = Topics().device("pi-1", "cmd")
    device = PahoLink(broker.address(broker.identity("pi-1")), "pi-1")
    device.subscribe([topic])
    server = PahoLink(broker.address(broker.identity(SERVER_NAME)), SERVER_NAME)
    with closing(connected(device)), closing(connected(server)):
        assert isinstance(device._client.socket(), PublishTap) is not name_is_gone
        for payload in payloads:
            assert server.publish(topic, payload)
        for payload in payloads:
            assert device.receive(20) == Incoming(topic, payload)
        assert wait_until(lambda: server.unacknowledged == 0, Deadline.after(10))
