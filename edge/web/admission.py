"""What may come in: limits that are checked before memory is taken. Pure.

Rules:
- a request is counted from the moment its body is whole until it is answered: a client that sends a
  byte a second takes no place from others, and what it has sent counts in bytes;
- bytes are those of bodies, of what they become (inflated, parsed, as arrays) and of answers until
  they are sent; each is counted before it is there, by what it can be at most;
- more requests than `in_flight` are answered 429, more bytes than `held_bytes` 503, both with
  Retry-After; a body longer than any input of the model could be is answered 413 before it is read,
  and what alone needs more than `held_bytes` too;
- once draining, what is inside is answered and what comes is refused with 503.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.web.reply import HttpError


@dataclass(frozen=True)
class Limits:
    """Settings of the HTTP side."""

    #: Requests that wait for an interpreter or are in one.
    in_flight: int = 64
    #: Bytes of one body, compressed or not.
    body_bytes: int = 16_000_000
    #: Bytes that all requests together may need.
    held_bytes: int = 128_000_000
    #: Rows of one request.
    rows: int = 64
    #: From the request's headers to its answer; a client may ask for less.
    timeout_s: float = 10.0
    #: Open connections, idle ones too; a further one is closed at once.
    connections: int = 900
    #: How long a client may take to send its headers.
    headers_timeout_s: float = 10.0
    #: How long an idle connection is kept after an answer.
    keep_alive_s: float = 75.0


class Admission:
    """Counts what is inside and refuses what would be too much."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.reading = 0
        self.held_bytes = 0
        self.draining = False

    def longest(self, limit: int) -> int:
        """Return how long a body may be that can use `limit` bytes."""
        return min(limit, self.limits.body_bytes)

    def check_length(self, length: int, limit: int) -> None:
        """Raise HttpError 413 for a body longer than `limit`, or than any may be."""
        limit = self.longest(limit)
        if length > limit:
            text = f"a body of {length} bytes: at most {limit} are taken"
            raise HttpError(413, text, reason="too-large", hang_up=True)

    def hold(self, count: int, held_before: int = 0, *, hang_up: bool = False) -> None:
        """Count bytes of a request that held some before.

        Raises HttpError 503 when all requests together hold too many, 413 when this one alone does.
        """
        limit = self.limits.held_bytes
        if held_before + count > limit:
            text = (
                f"the request may need {(held_before + count) / 1e6:.0f} MB of memory, the limit is "
                f"{limit / 1e6:.0f}: send fewer rows at a time, or binary tensors"
            )
            raise HttpError(413, text, reason="too-large", hang_up=hang_up)
        if self.held_bytes + count > self.limits.held_bytes:
            raise HttpError(
                503,
                "too many bytes are waiting to be answered",
                reason="memory",
                retry_after_s=1,
                hang_up=hang_up,
            )
        self.held_bytes += count

    def check_open(self) -> None:
        """Raise HttpError 503 for a request that came after the end was announced."""
        if self.draining:
            raise HttpError(503, "shutting down", reason="draining", retry_after_s=1, hang_up=True)

    def enter(self) -> None:
        """Count a request whose body is whole; raise HttpError 429 when too many are inside."""
        if self.in_flight >= self.limits.in_flight:
            raise HttpError(
                429, f"{self.in_flight} requests are inside already", reason="busy", retry_after_s=1
            )
        self.in_flight += 1

    def leave(self) -> None:
        """Count out a request that had entered."""
        self.in_flight -= 1

    def release(self, count: int) -> None:
        """Count out bytes that were held."""
        self.held_bytes -= count


class Holding:
    """The bytes that one request holds."""

    __slots__ = ("_admission", "_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0

    def grow(self, count: int, *, hang_up: bool = False) -> None:
        """Hold more; raises as Admission.hold, and holds what it held."""
        self._admission.hold(count, self._bytes, hang_up=hang_up)
        self._bytes += count

    def become(self, count: int) -> None:
        """Hold `count` instead, which is there already if it is less; raises as Admission.hold."""
        if count > self._bytes:
            self.grow(count - self._bytes)
        else:
            self._admission.release(self._bytes - count)
            self._bytes = count
