"""The port to the broker: what a connection must offer, and what may come out of it.

Both ends work with one queue of events and never see a callback. `wire/memory_link.py` is the fake
beside the real `wire/adapters/paho_link.py`, and just as strict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from wire.errors import MessageError
from wire.messages import MAX_PAYLOAD_BYTES

#: Publishes that the broker has not acknowledged yet; past it, `publish` takes no more.
MAX_UNACKNOWLEDGED: Final = 200


class Incoming(NamedTuple):
    """A message from the broker. Thousands come in a second: a tuple is made in a third of the time."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True)
class LinkUp:
    """The connection stands; earlier subscriptions are restored."""


@dataclass(frozen=True)
class LinkDown:
    """The connection is lost, or could not be made; it is tried again by itself.

    `refused`: the broker was there and seems not to want us.
    """

    reason: str
    refused: bool = False


@dataclass(frozen=True)
class PublishRefused:
    """The broker will not have the message that `publish` took as its `number`-th, counted from 1.

    It is as good as acknowledged: nobody sends it again.
    """

    number: int
    reason: str


@dataclass(frozen=True)
class SubscribeRefused:
    """The broker sends nothing of what `topic` matches; it is asked again with the next connection."""

    topic: str
    reason: str


LinkEvent = Incoming | LinkUp | LinkDown | PublishRefused | SubscribeRefused


@dataclass(frozen=True)
class Will:
    """What the broker says in our name when we vanish. Retained."""

    topic: str
    payload: bytes


class Link(Protocol):
    """A connection to the broker that keeps itself alive."""

    def start(self) -> None:
        """Begin to connect, and reconnect for ever. Does not wait and does not raise."""

    def close(self) -> None:
        """Disconnect in an orderly way (the will is not sent)."""

    def reconnect(self) -> None:
        """Drop the connection and make it anew, with the certificate that lies on the disk now."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
    ) -> bool:
        """Hand over one message at QoS 1; return False when it was not taken: offline, or too many open.

        Raises MessageError for a payload above MAX_PAYLOAD_BYTES: a broker that refuses one such
        message disconnects the client, which sends it again, for ever.
        """

    def tell(self, messages: Sequence[tuple[str, bytes]]) -> bool:
        """Hand over retained messages, (topic, payload), at QoS 0: nobody acknowledges them.

        Returns False when none was taken: offline, or earlier ones still wait to be written. A tenth of the
        cost of `publish`. Raises MessageError like it.
        """

    def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe now, and again after every reconnect until unsubscribed."""

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """End subscriptions."""

    def receive(self, timeout_s: float) -> LinkEvent | None:
        """Return the next event, or None when none came in `timeout_s`."""

    @property
    def taken(self) -> int:
        """How many publishes were taken: the number of the last one. Of these the broker has answered
        all but the last `unacknowledged`, since it answers in their order."""

    @property
    def unacknowledged(self) -> int:
        """How many publishes the broker has not acknowledged yet.

        The event of a refused one is there before it is taken off.
        """


def check_size(topic: str, payload: bytes) -> None:
    """Raise MessageError when `payload` is too large to be sent at all."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MessageError(topic, f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} can be sent")
