"""Accepting connections, never more than may be open.

The event loop's own server counts none while their TLS handshake lasts, for a minute, and cannot be told
to stop: so it is done here. One more than the limit is closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

#: How long nothing is accepted after the system had no file left.
_PAUSE_S: Final = 0.1
#: Not a client's doing.
_LACKING: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True)
class Welcome:
    """What becomes of a connection: its protocol, encryption, and how many there may be.

    `made` are the protocols whose connection is made: their handshake is done.
    """

    make_protocol: Callable[[], asyncio.Protocol]
    tls: ssl.SSLContext | None
    handshake_s: float
    most: int
    made: Set[object]


class Acceptor:
    """Accepts on listening sockets, from `start` to `stop`."""

    def __init__(self, welcome: Welcome) -> None:
        self._welcome = welcome
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: dict[asyncio.Protocol, asyncio.Task[None]] = {}
        self._told: set[int | None] = set()

    def start(self, sockets: Sequence[socket.socket]) -> None:
        for listening in sockets:
            listening.setblocking(False)
            task = asyncio.create_task(self._accept(listening))
            task.add_done_callback(_told_of)
            self._accepting.append(task)

    async def stop(self) -> None:
        """Accept no more, and give up handshakes; what is open stays so."""
        tasks = [*self._accepting, *self._greeting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # no file left, or a client that has gone
                self._not_accepted(error)
                await asyncio.sleep(_PAUSE_S)
                continue
            await asyncio.sleep(0)  # however many come, the others have their turn
            if self._count() >= self._welcome.most:
                connection.close()
                continue
            protocol = self._welcome.make_protocol()
            self._greeting[protocol] = asyncio.create_task(self._greet(connection, protocol))

    def _not_accepted(self, error: OSError) -> None:
        """Tell a person what the system lacks, once: it may be so ten times a second."""
        if error.errno in _LACKING and error.errno not in self._told:
            self._told.add(error.errno)
            log.warning("connections have to wait: %s (told once)", error.strerror)
        else:
            log.debug("not accepted: %s", error)

    def _count(self) -> int:
        made = self._welcome.made
        return len(made) + sum(protocol not in made for protocol in self._greeting)

    async def _greet(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        """Hand the connection to its protocol, after the handshake."""
        welcome = self._welcome
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=welcome.tls,
                ssl_handshake_timeout=welcome.handshake_s if welcome.tls else None,
            )
        except BaseException as error:
            with contextlib.suppress(OSError):
                connection.close()
            if not isinstance(error, OSError | TimeoutError):  # else no handshake, or too slow
                raise
        finally:
            del self._greeting[protocol]


def _told_of(task: asyncio.Task[None]) -> None:
    """Log what ended the accepting but our own end: the socket is open, and nobody would come in any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("no connection is accepted any more", exc_info=error)
