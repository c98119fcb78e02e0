"""The link over paho-mqtt, with the traps of that client closed.

- TCP_NODELAY is set: without it QoS 1 windows run 6 to 11 times slower (Nagle and delayed ACK).
- An exception in a callback would end the network thread while `is_connected()` stays true, so
  every callback only puts something into a queue, inside `_guarded`.
- Subscriptions are made again in `on_connect`; paho does not restore them.
- Reconnects wait with full jitter; paho's own doubling brings a whole fleet back at once.
- Its path of a message costs 60 to 80 µs: the socket under it takes them (wire/adapters/publish_tap.py), and
  what asks for no answer is written many packets at a time.
- The offline queue of paho is in RAM and unbounded: `publish` takes nothing while offline.
- To paho a refused publish is a published one, and a refused subscription a subscription: both are events.
- paho reports a message at QoS 0 like an acknowledged one, by a number that comes round after 65,535
  messages: what may be lost goes past it (`tell`), and whether another one is acknowledged is asked of what
  `publish` returned for it.
- What is larger than any message of ours is dropped before it waits for us: 20,000 such would be the memory
  of a device. A broker that heeds MQTT 5's maximum packet size does not even send it.
- With TLS the files are read before each connection: one that was replaced counts from the next on, and
  one that is missing is a reason to try again, not to end. A broker that refuses a certificate often
  closes before its reason is read, so a close before any answer counts as a refusal.

Threads: paho's network thread runs the callbacks; everything else belongs to the caller's thread.
"""

from __future__ import annotations

import collections
import functools
import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wire.adapters.publish_tap import PublishTap, Take, packet
from wire.adapters.tls import NotingContext, TlsFiles, explain, is_refusal, load, make_context
from wire.errors import SettingsError
from wire.link import (
    MAX_UNACKNOWLEDGED,
    Incoming,
    LinkDown,
    LinkEvent,
    LinkUp,
    PublishRefused,
    SubscribeRefused,
    Will,
    check_size,
)
from wire.messages import MAX_PAYLOAD_BYTES

log = logging.getLogger(__name__)

_KEEPALIVE_S: Final = 10  # a half-open link shows after two of these
_WILL_DELAY_S: Final = 5
_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 30.0
_CLOSED_AT_ONCE: Final = (
    "closed the connection before it answered: does the broker refuse this device's certificate "
    "(revoked, expired, of another CA)?"
)
_PACKET_OVERHEAD: Final = 66 * 1024  # the longest topic that MQTT knows, and properties
_MAX_EVENTS: Final = 20_000  # past them the network thread waits, and the broker holds the rest back
_MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
_ROOM_EVERY_S: Final = 0.02
#: While there is no room the broker still hears of us: it would end the connection, and all begin anew.
_ALIVE_EVERY_S: Final = _KEEPALIVE_S / 2
_PINGREQ: Final = b"\xc0\x00"
_FEW_BYTES: Final = 32 * 1024


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker listens, and the files for TLS with it; without them the connection is plain."""

    host: str
    port: int
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Login:
    """User name and password, for a listener that asks for no certificate."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class _Sent:
    """A publish at QoS 1: the how manieth it is, and paho's word on what became of it."""

    number: int
    info: mqtt.MQTTMessageInfo


class _Client(mqtt.Client):
    """paho's client on a socket that takes the messages itself; it sees all else, and does it.

    `_create_socket`, of paho 2.1 and 2.2, is private: a version that does not call it has its plain socket,
    on which everything here is right, and slower.
    """

    take: Take

    def _create_socket(self) -> Any:  # the place where paho itself puts its WebSocket around a socket
        return PublishTap(super()._create_socket(), self.take)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        result = super().loop_read(max_packets)
        while result == mqtt.MQTT_ERR_SUCCESS and getattr(self.socket(), "ahead", False):
            result = super().loop_read(max_packets)
        return result

    def heard(self) -> None:
        """Take note that the broker lives. paho waits 10 s for its answer to a ping, and does not see what
        stands before it, nor for how long we had no room for that."""
        self._ping_t = 0.0

    def send(self, packets: bytes) -> None:
        """Have the network thread write packets that ask for no answer, as if they were one of that kind."""
        self._packet_queue(mqtt.PUBACK, packets, 0, 0)


class PahoLink:
    """A `wire.link.Link` to a real broker, MQTT 5.

    `largest_bytes` is the largest payload that is taken; None takes whatever the broker lets through.
    `gather_s` is how long to wait for more after a few messages came: who hears thousands of devices would
    be woken by each, and have the interpreter's lock change hands.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        will: Will | None = None,
        login: Login | None = None,
        *,
        largest_bytes: int | None = MAX_PAYLOAD_BYTES,
        gather_s: float = 0.0,
    ) -> None:
        self._address = address
        self._tls: NotingContext | None = None
        self._trouble: LinkDown | None = None
        self._answered = False
        self._turned_away = False
        self._largest_bytes = largest_bytes
        self._gather_s = gather_s
        self._told_large = False
        self._taken_bytes = 0  # the network thread's
        self._given_bytes = 0  # the caller's
        self._events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._subscribed: dict[str, None] = {}
        self._open: collections.deque[_Sent] = collections.deque()  # a broker acknowledges in this order
        self._early: dict[int, str] = {}  # refused before we had noted it, by paho's number: why
        self._published = 0
        self._asked: dict[int, list[str]] = {}  # topics of each SUBSCRIBE that is under way
        self._failures = 0
        self._closed = False
        self._client = self._make_client(client_id, will)
        if login:
            self._client.username_pw_set(login.user, login.password)
        if address.tls:
            self._tls = make_context()
            self._client.tls_set_context(self._tls)
            self._client.on_pre_connect = self._on_pre_connect  # unguarded: it may forbid the attempt

    @property
    def taken(self) -> int:
        return self._published

    @property
    def unacknowledged(self) -> int:
        with self._lock:
            return self._count_open()

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = _WILL_DELAY_S  # a delayed will needs a session that lives as long
        if self._largest_bytes is not None:
            properties.MaximumPacketSize = self._largest_bytes + _PACKET_OVERHEAD
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive=_KEEPALIVE_S,
            clean_start=True,
            properties=properties,
        )
        self._client.loop_start()

    def close(self) -> None:
        self._closed = True
        self._client.disconnect()
        self._client.loop_stop()

    def reconnect(self) -> None:
        self._closed = True  # else the network thread might wait for room among the events, and we for it
        self._client.disconnect()
        self._client.loop_stop()
        self._closed = False
        self._failures = 0
        self._put(LinkDown("reconnecting"))
        self.start()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
    ) -> bool:
        check_size(topic, payload)
        with self._lock:
            if self._count_open() >= MAX_UNACKNOWLEDGED or not self._client.is_connected():
                return False
        properties = None
        if expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expiry_s
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc == mqtt.MQTT_ERR_QUEUE_SIZE:
            return False
        info.rc = mqtt.MQTT_ERR_SUCCESS  # lost just now (NO_CONN), paho keeps it for the next connection
        with self._lock:
            self._published += 1
            sent = _Sent(self._published, info)
            early = self._early.pop(info.mid, None)
            if early is None:
                self._open.append(sent)
        if early is not None:
            self._put(PublishRefused(sent.number, early))
        return True

    def tell(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        if not self._client.is_connected() or self._client.want_write():
            return False
        for topic, payload in messages:
            check_size(topic, payload)
        self._client.send(b"".join(packet(topic, payload) for topic, payload in messages))
        return True

    def _count_open(self) -> int:
        while self._open and self._open[0].info.is_published():
            self._open.popleft()
        return len(self._open)

    def subscribe(self, topics: Iterable[str]) -> None:
        new = list(topics)
        with self._lock:
            self._subscribed.update(dict.fromkeys(new))
        if new and self._client.is_connected():
            self._ask(self._client, new)

    def unsubscribe(self, topics: Iterable[str]) -> None:
        old = list(topics)
        with self._lock:
            for topic in old:
                self._subscribed.pop(topic, None)
        if old and self._client.is_connected():
            self._client.unsubscribe(old)

    def receive(self, timeout_s: float) -> LinkEvent | None:
        try:
            event = self._events.get(timeout=timeout_s) if timeout_s else self._events.get_nowait()
        except queue.Empty:
            return None
        if isinstance(event, Incoming):
            self._given_bytes += len(event.payload)
        return event

    @property
    def _waiting_bytes(self) -> int:
        return self._taken_bytes - self._given_bytes

    # --- network thread ---------------------------------------------------------------------

    def _make_client(self, client_id: str, will: Will | None) -> _Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        if will:
            properties = Properties(PacketTypes.WILLMESSAGE)
            properties.WillDelayInterval = _WILL_DELAY_S
            client.will_set(will.topic, will.payload, qos=1, retain=True, properties=properties)
        client.on_socket_open = _guarded(self._on_socket_open)
        client.on_connect = _guarded(self._on_connect)
        client.on_connect_fail = _guarded(self._on_connect_fail)
        client.on_disconnect = _guarded(self._on_disconnect)
        client.on_message = _guarded(self._on_message)
        client.take = _guarded(self._take)
        client.on_publish = _guarded(self._on_publish)
        client.on_subscribe = _guarded(self._on_subscribe)
        return client

    def _on_pre_connect(self, *_: Any) -> None:
        self._trouble, self._answered = None, False
        if self._tls is None or self._address.tls is None:
            return
        self._tls.problem = None
        try:
            load(self._tls, self._address.tls)
        except SettingsError as error:
            self._trouble = LinkDown(str(error))
            raise ConnectionAbortedError(str(error)) from error  # paho takes it for a broker that is away

    def _on_socket_open(self, _client: Any, _userdata: Any, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _props: Any) -> None:
        self._answered = True
        self._turned_away = reason.is_failure
        if reason.is_failure:
            self._wait_longer()
            self._put(LinkDown(f"refused by the broker: {reason}", refused=True))
            return
        self._failures = 0
        with self._lock:
            topics = list(self._subscribed)
            self._asked.clear()
        if topics:
            self._ask(client, topics)
        self._put(LinkUp())

    def _on_connect_fail(self, *_: Any) -> None:
        self._wait_longer()
        self._put(self._tls_trouble() or LinkDown(f"no broker at {self._address}"))

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _props: Any) -> None:
        if self._turned_away:  # told already, with a better reason
            self._turned_away = False
            return
        self._wait_longer()
        lost = LinkDown(f"connection lost: {reason}")
        if self._tls is not None and not self._answered:
            lost = LinkDown(f"{self._address} {_CLOSED_AT_ONCE}", refused=True)
        self._put(self._tls_trouble() or lost)

    def _tls_trouble(self) -> LinkDown | None:
        """Return what TLS has to do with the attempt that just failed, if anything."""
        if self._tls is None or self._answered:
            return None
        if self._trouble is not None:
            return self._trouble
        if self._tls.problem is not None:
            why = f"{self._address}: {explain(self._tls.problem)}"
            return LinkDown(why, refused=is_refusal(self._tls.problem))
        return None

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self._take([Incoming(message.topic, bytes(message.payload), message.retain)], b"")

    def _take(self, messages: list[Incoming], answers: bytes) -> None:
        """Hand messages over, and acknowledge them; wait for room before, which holds the broker back."""
        self._wait_for_room()
        for message in messages:
            if self._largest_bytes is None or len(message.payload) <= self._largest_bytes:
                self._taken_bytes += len(message.payload)
                self._put(message)
            else:
                self._drop(message)
        if answers:
            self._client.send(answers)
        self._client.heard()
        if self._gather_s and sum(len(message.payload) for message in messages) < _FEW_BYTES:
            time.sleep(self._gather_s)

    def _wait_for_room(self) -> None:
        said_s = time.monotonic()
        while not self._closed and self._is_full():
            time.sleep(_ROOM_EVERY_S)
            if time.monotonic() - said_s >= _ALIVE_EVERY_S:
                said_s = time.monotonic()
                self._client.send(_PINGREQ)
                self._client.loop_write()

    def _drop(self, message: Incoming) -> None:
        if not self._told_large:
            log.warning(
                "%d bytes on %.80r are dropped, none of ours has more than %d (further ones in silence)",
                len(message.payload), message.topic, self._largest_bytes,
            )  # fmt: skip
        self._told_large = True

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, reason: Any, _props: Any) -> None:
        """Tell of a refused publish: before paho takes it for published, see `unacknowledged`."""
        if not reason.is_failure:
            return
        with self._lock:
            number = next((sent.number for sent in reversed(self._open) if sent.info.mid == mid), None)
            if number is None:
                self._early[mid] = str(reason)
                return
        self._put(PublishRefused(number, str(reason)))

    def _ask(self, client: mqtt.Client, topics: list[str]) -> None:
        with self._lock:  # the answer may come before `subscribe` returns
            _, mid = client.subscribe([(topic, 1) for topic in topics])
            if mid is not None:
                self._asked[mid] = topics

    def _on_subscribe(self, _client: Any, _userdata: Any, mid: int, reasons: list[Any], _props: Any) -> None:
        with self._lock:
            topics = self._asked.pop(mid, [])
        for topic, reason in zip(topics, reasons, strict=False):
            if reason.is_failure:
                self._put(SubscribeRefused(topic, str(reason)))

    def _wait_longer(self) -> None:
        ceiling = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        delay_s = random.uniform(0.1, 1.0) * ceiling  # noqa: S311  # spreads reconnects, guards nothing
        # Equal bounds make paho wait just this long; its annotation says int, its arithmetic takes floats.
        self._client.reconnect_delay_set(delay_s, delay_s)

    def _put(self, event: LinkEvent) -> None:
        if not self._closed:
            self._events.put(event)

    def _is_full(self) -> bool:
        return self._waiting_bytes > _MAX_WAITING_BYTES or self._events.qsize() >= _MAX_EVENTS


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """Wrap a paho callback so that no exception ends the network thread."""

    @functools.wraps(callback)
    def run(*args: Any) -> None:
        try:
            callback(*args)
        except Exception:
            log.exception("callback %s failed", callback.__name__)

    return run
