"""From a device's message to rows: decoding, refusing and rolling up, without a database or a socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from wire.counters import MAX_COUNT, Buckets
from wire.errors import MessageError
from wire.histogram import EMPTY, merge
from wire.link import Incoming
from wire.messages import (
    EventReport,
    Head,
    Online,
    Reported,
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


Word = Arrival | Presence | StateWord


def understand(message: Incoming, topics: Topics, decode: Decode) -> Word | None:
    """Turn a message into a word; None for an empty one (a cleared topic). Raises MessageError."""
    address = topics.parse(message.topic)
    if not isinstance(address, DeviceTopic) or address.leaf not in _KINDS:
        raise MessageError("topic", f"{message.topic[:80]!r} is not a device's report")
    if not message.payload:
        return None
    decoded = decode(_KINDS[address.leaf], message.payload)
    match decoded:
        case Online():
            return Presence(address.device, decoded, live=not message.retained)
        case Reported():
            return StateWord(address.device, decoded, live=not message.retained)
        case _:
            if isinstance(decoded.body, Telemetry):
                _check_counters(decoded.body)
            return Arrival(address.device, address.leaf, decoded.head, decoded.body)


def _check_counters(telemetry: Telemetry) -> None:
    """Refuse counters that contradict each other, before they reach a sum."""
    if telemetry.interval_s <= 0:
        raise MessageError("Telemetry", f"interval of {telemetry.interval_s} s")
    for counters in telemetry.models:
        try:
            merge([counters.latency_us])
        except ValueError as error:
            raise MessageError("Telemetry", str(error)) from error
        sane = (
            # Truth may come later than the answer: labelled and inferences are of different intervals.
            0 <= counters.correct <= counters.labelled <= counters.total <= MAX_COUNT
            and 0 <= counters.inferences <= counters.total
            and 0 <= counters.errors <= MAX_COUNT
            and all(n >= 0 for n in counters.latency_us.counts)
            and sum(counters.latency_us.counts) == counters.inferences
        )
        if not sane:
            raise MessageError("Telemetry", f"counters of {counters.release} contradict each other")


@dataclass(frozen=True)
class ReleaseTotal:
    """Sums of one release on one device over all reports that were committed."""

    inferences: int = 0
    errors: int = 0
    labelled: int = 0
    correct: int = 0
    latency_us: Buckets = EMPTY
