"""A TCP proxy that does to a connection what bad links do: slowness, distance, resets, silence.

It counts the bytes that it handed to the client side, so that what a fault cost is known. One thread with
an event loop; the methods may be called from any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_READ_BYTES: Final = 16 * 1024
#: What the narrow place of a link holds besides what is on its way; past it the sender waits.
_BUFFER_BYTES: Final = 64 * 1024
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close() sends RST


@dataclass(frozen=True)
class Shape:
    """What a link is like. `rate_bytes_s` holds towards the client; `reset_every` are bytes towards it."""

    rate_bytes_s: float | None = None
    rtt_s: float = 0.0
    reset_every: int | None = None


class ChaosProxy:
    """Listens on a free port of 127.0.0.1 and passes everything to `port`, until `stop`."""

    def __init__(self, port: int, shape: Shape = Shape()) -> None:
        self.passed = 0  # bytes handed to clients
        self.resets = 0
        self._target, self._shape = port, shape
        self._connections: set[_Connection] = set()
        self._since_reset = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy")
        self._thread.start()

    def reset(self) -> None:
        """End every connection by RST, on both sides."""
        self._loop.call_soon_threadsafe(self._reset)

    def stall(self) -> None:
        """Make every connection half-open: nothing passes any more, not even its end. New ones work."""
        self._loop.call_soon_threadsafe(self._stall)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # no broker there: say so as the kernel would
            _abort(to_client)
            return
        connection = _Connection((to_client, to_server))
        self._connections.add(connection)
        up = _Pipe(rate=None, delay_s=self._shape.rtt_s / 2)
        down = _Pipe(rate=self._shape.rate_bytes_s, delay_s=self._shape.rtt_s / 2)
        try:
            connection.tasks = [
                asyncio.ensure_future(up.run(client, to_server, connection.flowing, lambda _: None)),
                asyncio.ensure_future(down.run(server, to_client, connection.flowing, self._count)),
            ]
            await asyncio.wait(connection.tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.end()
            self._connections.discard(connection)

    def _count(self, size_bytes: int) -> None:
        self.passed += size_bytes
        self._since_reset += size_bytes
        if self._shape.reset_every and self._since_reset >= self._shape.reset_every:
            self._reset()

    def _reset(self) -> None:
        self._since_reset = 0
        self.resets += bool(self._connections)
        for connection in list(self._connections):
            connection.end()

    def _stall(self) -> None:
        for connection in self._connections:
            connection.flowing.clear()

    async def _end(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.end()
        while self._connections:
            await asyncio.sleep(0.01)
        await self._server.wait_closed()


class _Connection:
    """Both sides of one connection, and what moves bytes between them."""

    def __init__(self, sides: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.tasks: list[asyncio.Future[None]] = []
        self._sides = sides
        for side in sides:
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for side in self._sides:
            _abort(side)


class _Pipe:
    """One direction: a delay line behind a narrow place."""

    def __init__(self, *, rate: float | None, delay_s: float) -> None:
        self._rate, self._delay_s = rate, delay_s
        self._line: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._changed = asyncio.Event()
        self._room = _BUFFER_BYTES + int((rate or 0) * 2 * delay_s)

    async def run(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flowing: asyncio.Event,
        passed: Callable[[int], None],
    ) -> None:
        taking = asyncio.ensure_future(self._take(reader))
        try:
            with contextlib.suppress(ConnectionError):
                await self._give(writer, flowing, passed)
        finally:
            taking.cancel()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        free_s = 0.0
        piece = b" "
        while piece:
            while self._held >= self._room:
                await self._wait()
            try:
                piece = await reader.read(_READ_BYTES)
            except ConnectionError:
                piece = b""
            now_s = time.monotonic()
            free_s = max(free_s, now_s) + (len(piece) / self._rate if self._rate else 0.0)
            self._line.append((free_s + self._delay_s, piece))
            self._held += len(piece)
            self._changed.set()

    async def _give(
        self, writer: asyncio.StreamWriter, flowing: asyncio.Event, passed: Callable[[int], None]
    ) -> None:
        while True:
            while not self._line:
                await self._wait()
            due_s, piece = self._line[0]
            if (left_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            await flowing.wait()
            self._line.popleft()
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
            self._held -= len(piece)
            self._changed.set()
            passed(len(piece))

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _abort(side: asyncio.StreamWriter) -> None:
    sock = side.get_extra_info("socket")
    with contextlib.suppress(OSError):  # closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    side.transport.abort()
