"""Messages are taken out of paho's stream, all else reaches paho as it came, and no garbage ends the link."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.adapters.publish_tap import PublishTap, packet
from wire.deadline import Deadline
from wire.link import Incoming

CONNACK = b"\x20\x03\x00\x00\x00"
PINGRESP = b"\xd0\x00"


def publish(
    topic: bytes, payload: bytes, *, qos: int = 1, number: int = 1, properties: bytes = b"\x00"
) -> bytes:
    """Return a PUBLISH as a broker sends it."""
    body = len(topic).to_bytes(2, "big") + topic
    body += (number.to_bytes(2, "big") if qos else b"") + properties + payload
    length, left = b"", len(body)
    while left >= 0x80:
        length += bytes((left & 0x7F | 0x80,))
        left >>= 7
    return bytes((0x30 | qos << 1,)) + length + bytes((left,)) + body


@dataclass
class Stream:
    """A socket that gives what it was given in pieces, and then has no more for now."""

    pieces: list[bytes]

    def recv(self, _size: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        return self.pieces.pop(0)


@dataclass
class Read:
    """All that came out of a tap: messages, their acknowledgements, and what paho saw."""

    messages: list[Incoming] = field(default_factory=list)
    answers: bytes = b""
    passed: bytes = b""

    def take(self, messages: list[Incoming], answers: bytes) -> None:
        self.messages += messages
        self.answers += answers


def read(data: bytes, cuts: list[int] | None = None) -> Read:
    """Send `data` through a tap, cut into pieces at `cuts`, and read like paho until there is no more."""
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts or ()), len(data)]
    pieces = [data[a:b] for a, b in pairwise(borders) if b > a]
    out, stream = Read(), Stream(pieces)
    tap = PublishTap(stream, out.take)
    while True:
        try:
            out.passed += tap.recv(1 + len(out.passed) % 7)
        except BlockingIOError:
            if not stream.pieces:
                return out


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_wherever_the_stream_is_cut_the_same_comes_out(cuts: list[int]) -> None:
    expiring = Properties(PacketTypes.PUBLISH)
    expiring.MessageExpiryInterval = 60
    data = (
        CONNACK
        + publish(b"a/1", b"one", number=258)
        + publish(b"a/2", b"", qos=0)
        + PINGRESP
        + publish(b"a/3", b"x" * 1500, number=3, properties=expiring.pack())
        + publish("a/ä".encode(), b"\xff", number=4)
    )
    found = read(data, cuts)
    assert found.messages == [
        Incoming("a/1", b"one"), Incoming("a/2", b""), Incoming("a/3", b"x" * 1500), Incoming("a/ä", b"\xff"),
    ]  # fmt: skip
    assert found.answers == b"\x40\x02\x01\x02\x40\x02\x00\x03\x40\x02\x00\x04"
    assert found.passed == CONNACK + PINGRESP


@pytest.mark.parametrize(
    "odd",
    [
        publish(b"a", b"x", qos=2),
        publish(b"", b"by its alias", properties=b"\x03\x23\x00\x01"),
        publish(b"\xc3\x28", b"a topic that is no text"),
        publish(b"a", b"", properties=b"\x05\x23"),
        publish(b"a", b"", properties=b"\x80\x01" + b"\x26" * 128),
        b"\x32\x03\x00\x09a",
        b"\x32\x01\x00",
        b"\x30\x00",
        b"\xf0\x00",
    ],
)
def test_what_is_odd_is_left_to_paho_in_its_place(odd: bytes) -> None:
    found = read(publish(b"a", b"before") + odd + publish(b"a", b"behind"))
    assert [m.payload for m in found.messages] == [b"before", b"behind"]
    assert found.passed == odd


def test_what_cannot_be_cut_goes_on_to_paho_to_the_end() -> None:
    garbage = b"\x32\xff\xff\xff\xff\x01" + publish(b"a", b"behind")
    assert read(garbage).passed == garbage
    assert read(garbage, [1, 3, 6, 8]).messages == []


def test_a_message_of_megabytes_is_put_together_once() -> None:
    payload = random.Random(1).randbytes(5_000_000)
    data = publish(b"a", payload)
    found = read(data, [*range(0, len(data), 64 * 1024)])
    assert found.messages == [Incoming("a", payload)]


def test_what_came_in_many_pieces_is_taken_together() -> None:
    batches: list[list[Incoming]] = []
    tap = PublishTap(
        Stream([publish(b"a", bytes([i])) for i in range(50)]), lambda messages, _: batches.append(messages)
    )
    with pytest.raises(BlockingIOError):
        tap.recv(1)
    assert [len(batch) for batch in batches] == [50]


def test_a_stream_that_does_not_end_leaves_paho_its_turns() -> None:
    class Flood:
        def recv(self, _size: int) -> bytes:
            return publish(b"a", bytes(1000), qos=0) * 10

    out = Read()
    tap = PublishTap(Flood(), out.take)
    for _ in range(3):
        taken = len(out.messages)
        with pytest.raises(BlockingIOError):
            tap.recv(1)
        assert 60 <= len(out.messages) - taken <= 80


def test_what_came_before_a_connection_broke_is_taken() -> None:
    class Broken(Stream):
        def recv(self, size: int) -> bytes:
            if not self.pieces:
                raise ConnectionResetError
            return super().recv(size)

    out = Read()
    tap = PublishTap(Broken([publish(b"a", b"one"), publish(b"a", b"two")]), out.take)
    with pytest.raises(BlockingIOError):
        tap.recv(1)
    assert [m.payload for m in out.messages] == [b"one", b"two"]
    with pytest.raises(ConnectionResetError):
        tap.recv(1)


def test_a_packet_that_is_told_is_read_as_a_retained_message() -> None:
    assert read(packet("edgeflock/d/pi-1/ack", b"x" * 200)).messages == [
        Incoming("edgeflock/d/pi-1/ack", b"x" * 200, retained=True)
    ]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
def test_no_garbage_raises_and_none_is_lost_on_the_way_to_paho(data: bytes, cuts: list[int]) -> None:
    whole, cut = read(data), read(data, cuts)
    assert (whole.messages, whole.answers) == (cut.messages, cut.answers)
    assert cut.passed.startswith(whole.passed) or whole.passed.startswith(cut.passed)


class MadBroker:
    """Accepts, answers CONNECT, and then says what it is told, once for each connection."""

    def __init__(self, sayings: Iterator[bytes]) -> None:
        self._sayings = sayings
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = BrokerAddress("127.0.0.1", self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for saying in self._sayings:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                connection.recv(1000)
                connection.sendall(saying)

    def close(self) -> None:
        self._listener.close()


def sayings(seed: int) -> Iterator[bytes]:
    """Yield what mad brokers say; the last one is sane."""
    rng = random.Random(seed)
    sane = CONNACK + publish(b"a", b"x") + b"\x90\x04\x00\x01\x00\x01" + b"\x40\x03\x00\x01\x87" + PINGRESP
    for _ in range(12):
        mad = bytearray(sane)
        for _ in range(rng.randrange(1, 6)):
            mad[rng.randrange(len(mad))] = rng.randrange(256)
        yield bytes(mad)
    yield from (b"\x20\x00", b"\x20\x01\x00", CONNACK + b"\x90\x00", CONNACK + b"\x40\x01\x00", b"\xe0\x00")
    while True:
        yield CONNACK + publish(b"a", b"sane")


@pytest.mark.parametrize("seed", range(4))
def test_a_link_outlives_a_broker_that_talks_garbage(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.adapters.paho_link._LONGEST_RETRY_S", 0.02)
    broker = MadBroker(sayings(seed))
    link = PahoLink(broker.address, "pi-1")
    link.start()
    deadline = Deadline.after(60)
    try:
        while link.receive(1.0) != Incoming("a", b"sane"):
            assert not deadline.passed, "the network thread has ended"
    finally:
        link.close()
        broker.close()
