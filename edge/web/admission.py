"""What may come in: limits that are checked before memory is taken. Pure.

Rules:
- a request is counted from the moment its body is whole until it is answered: a client that sends a
  byte a second takes no place from others, and what it has sent counts in bytes;
- more requests than `in_flight` are answered 429, more bytes than `held_bytes` 503, both with
  Retry-After; a body longer than any input of the model could be is answered 413 before it is read;
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
    body_bytes: int = 16 * 1024 * 1024
    #: Bytes of all bodies together that are being read or answered.
    held_bytes: int = 64 * 1024 * 1024
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

    def hold(self, count: int) -> None:
        """Count bytes that were read; raise HttpError 503 when all together are too many."""
        if self.held_bytes + count > self.limits.held_bytes:
            raise HttpError(
                503,
                "too many bytes are waiting to be answered",
                reason="memory",
                retry_after_s=1,
                hang_up=True,
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
