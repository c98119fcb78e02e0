"""The end of a connection whose request was refused before its body had come.

Who closes a socket with bytes unread resets the connection, and the client loses the answer that says
why: one that sends its whole body before it reads, as Python's http.client does, never sees a 413. So
the answer is followed by the end of what we write, and what still comes is thrown away for a while.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

#: How long, and how much.
_LINGER_S: Final = 5.0
_LINGER_BYTES: Final = 64 * 1024 * 1024


class LingeringTransport:
    """What uvicorn's cycle uses of a transport; `close` waits for the rest of a body."""

    def __init__(self, connection: Any, cycle: Any) -> None:
        self._connection = connection
        self._cycle = cycle
        self._transport = connection.transport
        self.write = self._transport.write
        self.is_closing = self._transport.is_closing

    def close(self) -> None:
        """Close at once after a whole request, else once the client has stopped sending."""
        if self._cycle.more_body and not self._transport.is_closing():
            Farewell(self._connection, self._transport).begin()
        else:
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Farewell(asyncio.Protocol):
    """Takes the place of a connection's protocol, and throws away what comes."""

    def __init__(self, connection: Any, transport: Any) -> None:
        self._connection = connection
        self._transport = transport
        self._left = _LINGER_BYTES
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """End our half of the connection, which with TLS has no halves."""
        self._transport.set_protocol(self)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.connection_lost(exc)
