"""From a device's message to rows: decoding, refusing and rolling up, without a database or a socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fleet.plausibility import check_reported, check_samples, check_telemetry
from wire.counters import Buckets
from wire.errors import MessageError
from wire.histogram import EMPTY, merge
from wire.link import Incoming
from wire.messages import (
    STREAMS,
    EventReport,
    Head,
    Online,
    Reported,
    Samples,
    SamplesReport,
    Telemetry,
    TelemetryReport,
)
from wire.topics import DeviceTopic, Leaf, Topics

#: Decodes a payload as a message class (wire.codec.decode, or the server's faster one).
Decode = Callable[[Any, bytes], Any]

_KINDS: Final[dict[Leaf, Any]] = {
    "event": EventReport,
    "telemetry": TelemetryReport,
    "samples": SamplesReport,
    "online": Online,
    "reported": Reported,
}


@dataclass(frozen=True)
class Arrival:
    """One durable message, decoded."""

    device: str
    stream: Leaf
    head: Head
    body: Any


@dataclass(frozen=True)
class Presence:
    """A birth or a will; one that was retained (not `live`) says nothing about when."""

    device: str
    online: Online
    live: bool = True


@dataclass(frozen=True)
class StateWord:
    """What a device says it is doing."""

    device: str
    reported: Reported
    live: bool = True


@dataclass(frozen=True)
class Refusal:
    """A durable message that cannot be believed: it is acknowledged, or the device would send it for ever."""

    device: str
    stream: Leaf
    head: Head
    error: MessageError


Word = Arrival | Presence | StateWord | Refusal


@dataclass(frozen=True)
class _Headed:
    """What is read of a durable message whose body cannot be."""

    head: Head
    v: int = 1


def understand(message: Incoming, topics: Topics, decode: Decode) -> Word | None:
    """Turn a message into a word; None for an empty one (a cleared topic).

    Raises MessageError for what is no word; of a durable message, where not even the head can be read.
    """
    address = topics.parse(message.topic)
    if not isinstance(address, DeviceTopic) or address.leaf not in _KINDS:
        raise MessageError("topic", f"{message.topic[:80]!r} is not a device's report")
    if not message.payload:
        return None
    if address.leaf in STREAMS:
        return _durable(address, message.payload, decode)
    decoded = decode(_KINDS[address.leaf], message.payload)
    if isinstance(decoded, Online):
        return Presence(address.device, decoded, live=not message.retained)
    check_reported(decoded)
    return StateWord(address.device, decoded, live=not message.retained)


def _durable(address: DeviceTopic, payload: bytes, decode: Decode) -> Arrival | Refusal:
    try:
        decoded = decode(_KINDS[address.leaf], payload)
        if isinstance(decoded.body, Telemetry):
            check_telemetry(decoded.body)
        elif isinstance(decoded.body, Samples):
            check_samples(decoded.body)
    except MessageError as error:
        return Refusal(address.device, address.leaf, _head(payload, decode, error), error)
    return Arrival(address.device, address.leaf, decoded.head, decoded.body)


def _head(payload: bytes, decode: Decode, error: MessageError) -> Head:
    """Return the head of a message whose body is refused for `error`, which is raised where it has none."""
    try:
        headed: _Headed = decode(_Headed, payload)
    except MessageError:
        raise error from None
    return headed.head


@dataclass(frozen=True)
class ReleaseTotal:
    """Sums of one release on one device over all reports that were committed."""

    inferences: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    latency_us: Buckets = EMPTY

    def plus(self, other: ReleaseTotal) -> ReleaseTotal:
        return ReleaseTotal(
            self.inferences + other.inferences,
            self.errors + other.errors,
            self.labelled + other.labelled,
            self.correct + other.correct,
            merge((self.latency_us, other.latency_us)),
        )
