"""uvicorn's HTTP protocol with what it lacks: limits on a connection, and a short way for short requests.

Rules:
- uvicorn waits for ever for a first request and for the rest of its headers, takes headers of any
  length and as many connections as come: what stalls or is too much is ended here;
- a POST whose body came with its headers, for a model that answers at once, is answered from the
  parser's callback: no task, no events, one write. This takes a third of the time;
- every other request goes uvicorn's way, through the ASGI application, which does the same things. So
  it does with h11, and if httptools' protocol is not as we know it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from edge.web.admission import Limits
from edge.web.application import Application
from edge.web.reply import Reply
from edge.web.service import Visit

#: Of a request's headers; h11's own limit is the same.
_HEADERS_BYTES: Final = 64 * 1024

#: What a short request may have in its body.
_SHORT_BYTES: Final = 64 * 1024

#: What the short way uses of uvicorn's protocol.
_KNOWN: Final = ("on_headers_complete", "on_body", "on_message_complete", "_unset_keepalive_if_required")

_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class GuardedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen when uvicorn is imported
    """A connection that waits for headers, has a request inside, or is idle."""

    limits: Limits
    application: Application

    def connection_made(self, transport: Any) -> None:
        self._answered = False
        self._head_bytes = 0
        self._waits_since_s: float | None = self.loop.time()
        self._stuck_since_s: float | None = None
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        cycle, self._answered = self.cycle, False
        super().data_received(data)
        if self.cycle is not cycle:
            self._head_bytes = 0
            self._waits_since_s = None
        elif self._answered:
            self._head_bytes = 0
            self._waits_since_s = self.loop.time()
        elif cycle is None or (cycle.response_complete and not cycle.more_body):
            self._count_head(len(data))

    def end_if_stalled(self, now_s: float) -> None:
        """End the connection if its headers, or the client's reading, take too long."""
        patience_s = self.limits.headers_timeout_s if self._head_bytes else self.limits.keep_alive_s
        if self._waits_since_s is not None and now_s - self._waits_since_s > patience_s:
            self.transport.abort()
        if not self.transport.get_write_buffer_size():
            self._stuck_since_s = None
        elif self._stuck_since_s is None:
            self._stuck_since_s = now_s
        elif now_s - self._stuck_since_s > self.limits.timeout_s:
            self.transport.abort()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._waits_since_s is None or self._head_bytes == size:
            self._waits_since_s = self.loop.time()
        if self._head_bytes > _HEADERS_BYTES:
            self.transport.abort()


class ShortWayProtocol(GuardedProtocol):
    """httptools' protocol, which answers short requests in its callbacks."""

    def connection_made(self, transport: Any) -> None:
        self._visit: Visit | None = None
        self._asked_before: tuple[bytes, list[tuple[bytes, bytes]], Visit] | None = None
        self._parts: list[bytes] = []
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._visit is not None:  # its body is not whole yet
            self._go_uvicorns_way()

    def on_headers_complete(self) -> None:
        if self._may_be_short():
            self._visit = self._open_short()
        if self._visit is None:
            super().on_headers_complete()

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
            self._parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        visit = self._visit
        if visit is None:
            super().on_message_complete()
            return
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
            and not parser.should_upgrade()
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


def make_protocol(application: Application, limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol for an application: with the short way where the base class is as we know it."""
    known = AutoHTTPProtocol.__name__ == "HttpToolsProtocol" and all(
        hasattr(AutoHTTPProtocol, n) for n in _KNOWN
    )
    base = ShortWayProtocol if known else GuardedProtocol
    return type(base.__name__, (base,), {"application": application, "limits": limits})
