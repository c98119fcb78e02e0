"""uvicorn's HTTP protocol with what it lacks: limits on a connection, and a short way for short requests.

Rules:
- uvicorn queues as many pipelined requests as are sent, and takes the rest of a body after its answer
  without end: a client that does so is cut off;
- uvicorn waits for ever for a first request and for the rest of its headers, and takes headers and
  trailers of any length: what stalls or is too much is ended here. Counted are the bytes since the
  parser last told of something that is no header, also while an earlier request is answered;
- an upgrade is ignored, as RFC 9110 (7.8) lets a server do: httptools would lose the request's body;
- a POST whose body came with its headers, for a model that answers at once, is answered from the
  parser's callback: no task, no events, one write. This takes a third of the time;
- every other request goes uvicorn's way, through the ASGI application, which does the same things. So
  it does with h11, and if httptools' protocol is not as we know it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import sys
import termios
from http import HTTPStatus
from typing import Any, Final, NoReturn

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from edge.adapters.farewell import LingeringTransport
from edge.web.admission import Limits
from edge.web.application import Application
from edge.web.decoding import Visit
from edge.web.reply import Reply

#: Of a request's headers, and of its trailers; h11's own limit is the same.
_HEADERS_BYTES: Final = 64 * 1024

#: Requests of one connection that wait for the answer to an earlier one.
_PIPELINED: Final = 16

#: What a short request may have in its body.
_SHORT_BYTES: Final = 64 * 1024

#: What a client must read of its answer within the time limit, if not all of it.
_LEAST_READ_BYTES: Final = 64 * 1024

#: h11 tells nothing of bodies and limits trailers itself.
_H11: Final = AutoHTTPProtocol.__name__ == "H11Protocol"

#: What the short way uses of uvicorn's protocol.
_KNOWN: Final = (
    "on_message_begin",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "_unset_keepalive_if_required",
    "_unsupported_upgrade_warning",
)

_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class _Trailers(list[tuple[bytes, bytes]]):
    """Where the headers go that come after a body: nobody reads them."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Forget a trailer."""


class GuardedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen when uvicorn is imported
    """A connection that waits for headers, has a request inside, or is idle."""

    limits: Limits
    application: Application

    def connection_made(self, transport: Any) -> None:
        self._answered = False
        self._in_head = False
        self._much = False
        self._loose_bytes = 0
        self._running: Any = None
        self._waits_since_s: float | None = self.loop.time()
        self._stuck_since_s: float | None = None
        self._unread_bytes = 0
        self._rest_since_s: float | None = None
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        pipeline = getattr(self, "pipeline", None) or ()
        for cycle in (self._running, *(waiting for waiting, _ in pipeline)):
            if cycle is not None and not cycle.response_complete:  # uvicorn tells only the newest
                cycle.disconnected = True
                cycle.message_event.set()
        if pipeline:
            pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle, self._answered = self.cycle, False
        begun = self._in_head or self._loose_bytes
        self._loose_bytes += len(data)
        self._much = self._loose_bytes > _HEADERS_BYTES
        super().data_received(data)
        if self.cycle is not cycle or self._answered:
            # The next request's head may have begun in the same packet.
            self._waits_since_s = self.loop.time() if self._in_head or self._answered else None
            if _H11:
                self._loose_bytes = 0
        elif _is_idle(cycle):
            if self._waits_since_s is None or not begun:
                self._waits_since_s = self.loop.time()
        elif _H11:
            self._loose_bytes = 0
        if self._loose_bytes > _HEADERS_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end_head()
        if len(self.pipeline) >= _PIPELINED:
            self._cut_off("too many requests before an answer")
        super().on_headers_complete()
        self.headers: list[tuple[bytes, bytes]] = _Trailers()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle.more_body = False  # uvicorn leaves it
        super().on_message_complete()

    def end_if_stalled(self, now_s: float) -> None:
        """End the connection if headers, an unwanted body, or the client's reading take too long."""
        cycle = self.cycle
        in_head = self._in_head or self._loose_bytes
        if in_head and (self._waits_since_s is None or not _is_idle(cycle)):
            self._waits_since_s = now_s  # we may not be reading
        if cycle is None or not (cycle.response_complete and cycle.more_body):
            self._rest_since_s = None
        elif self._rest_since_s is None:
            self._rest_since_s = now_s
        elif now_s - self._rest_since_s > self.limits.timeout_s:
            self.transport.abort()
        patience_s = self.limits.headers_timeout_s if in_head else self.limits.keep_alive_s
        if self._waits_since_s is not None and now_s - self._waits_since_s > patience_s:
            self.transport.abort()
        self._end_if_unread(now_s)

    def _end_if_unread(self, now_s: float) -> None:
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._stuck_since_s = None
            return
        waiting += _queued_bytes(self.transport)
        if self._stuck_since_s is None or waiting <= self._unread_bytes - _LEAST_READ_BYTES:
            self._stuck_since_s, self._unread_bytes = now_s, waiting
        elif now_s - self._stuck_since_s > self.limits.timeout_s:
            self.transport.abort()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        cycle.transport = LingeringTransport(self, cycle)
        super()._start_asgi_task(cycle, app)

    def _end_head(self) -> None:
        self._in_head = False
        self._loose_bytes = 0
        if self._much:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > _HEADERS_BYTES:
                self._cut_off("too long headers")

    def _cut_off(self, why: str) -> NoReturn:
        """End the connection from within the parser, which stops at the error."""
        self.transport.abort()
        raise ConnectionAbortedError(why)


class ShortWayProtocol(GuardedProtocol):
    """httptools' protocol, which answers short requests in its callbacks."""

    def connection_made(self, transport: Any) -> None:
        self._visit: Visit | None = None
        self._asked_before: tuple[bytes, list[tuple[bytes, bytes]], Visit] | None = None
        self._parts: list[bytes] = []
        self._upgrades = False
        self._upgrades_at: int | None = None
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._upgrades_at is not None:
            self._begin_anew(data[self._upgrades_at :])
        if self._visit is not None:  # its body is not whole yet
            self._go_uvicorns_way()

    def on_headers_complete(self) -> None:
        self._end_head()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrades = True  # the parser skips the body: it gets the request again
            return
        if self._may_be_short():
            self._visit = self._open_short()
        if self._visit is None:
            super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Note where the parser stopped, which uvicorn calls this for."""
        stopped = sys.exception()
        if self._upgrades and stopped is not None:
            self._upgrades_at = stopped.args[0]

    def _begin_anew(self, rest: bytes) -> None:
        """Give a request to a new parser, without its Upgrade header: uvicorn does so for websockets."""
        self._upgrades, self._upgrades_at = False, None
        lines = [b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser: Any = type(self.parser)(self)
        with contextlib.suppress(AttributeError):  # httptools before 0.6.3; as uvicorn does
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join([*lines, b"\r\n", rest]))

    def _open_short(self) -> Visit | None:
        """Let a request in; a client that asks the same again, but for the body, is known."""
        known = self._asked_before
        if (
            known
            and known[0] == self.url
            and known[1] == self.headers
            and self.application.still_open(known[2])
        ):
            return known[2]
        visit = self.application.open_short(self.url, self.headers, _SHORT_BYTES)
        self._asked_before = (self.url, self.headers, visit) if visit is not None else None
        return visit

    def on_body(self, body: bytes) -> None:
        if self._visit is not None:
            self._loose_bytes = 0
            self._parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        visit = self._visit
        if visit is None:
            if not self._upgrades:
                super().on_message_complete()
            return
        self._loose_bytes = 0
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        reply = self.application.answer_short(visit, body)
        if reply is None:  # it takes a while after all
            self._go_uvicorns_way()
            super().on_message_complete()
            return
        self._visit, self._parts = None, []
        self._answered = True
        self._write(reply)

    def _may_be_short(self) -> bool:
        parser, cycle = self.parser, self.cycle
        return (
            parser.get_method() == b"POST"
            and (cycle is None or (cycle.response_complete and not cycle.more_body))
            and not self.pipeline
            and not self.flow.write_paused
            and not self.expect_100_continue
            and not self.transport.is_closing()
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
        )

    def _go_uvicorns_way(self) -> None:
        """Begin the request anew as an ASGI task, with the part of its body that is here."""
        self._visit = None
        parts, self._parts = self._parts, []
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)

    def _write(self, reply: Reply) -> None:
        head = [
            _STATUS_LINES[reply.status],
            b"content-type: %b\r\ncontent-length: %d\r\n" % (reply.content_type, len(reply.body)),
        ]
        closes = False
        for name, value in reply.headers:
            head.append(b"%b: %b\r\n" % (name, value))
            closes = closes or name == b"connection"
        head += [b"\r\n", reply.body]
        self.transport.write(b"".join(head))
        self.server_state.total_requests += 1
        if closes:
            self.transport.close()


def _is_idle(cycle: Any) -> bool:
    return cycle is None or (cycle.response_complete and not cycle.more_body)


def _queued_bytes(transport: Any) -> int:
    """Return what the system has not yet brought to the client: megabytes of an answer may lie there."""
    count = bytearray(4)
    with contextlib.suppress(OSError, ValueError):  # a system that does not tell
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count)
    return int(struct.unpack("i", count)[0])


def make_protocol(application: Application, limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol for an application: with the short way where the base class is as we know it."""
    known = AutoHTTPProtocol.__name__ == "HttpToolsProtocol" and all(
        hasattr(AutoHTTPProtocol, n) for n in _KNOWN
    )
    base = ShortWayProtocol if known else GuardedProtocol
    return type(base.__name__, (base,), {"application": application, "limits": limits})
