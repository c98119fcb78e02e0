"""uvicorn on a thread of its own: the page's socket, its TLS, and an orderly end."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

from fleet.adapters.web_connection import bounded
from fleet.web.address import WebAddress
from wire.adapters.server_tls import server_context
from wire.errors import UnavailableError

log = logging.getLogger(__name__)

_BACKLOG: Final = 128
_MOST_AT_ONCE: Final = 200
_KEEP_ALIVE_S: Final = 15
_LAST_ANSWERS_S: Final = 2


class WebServer:
    """The page of the fleet in `state`: `open` binds, `start` serves on a thread, `stop` ends it.

    No device counts as silent for longer than since Unix time `listening_since_s`.
    """

    def __init__(self, state: Path, address: WebAddress, *, listening_since_s: float = 0.0) -> None:
        self._state = state
        self._address = address
        self._listening_since_s = listening_since_s
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._desk: Any = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also where any was asked for (0)."""
        assert self._socket is not None, "not open"
        return int(self._socket.getsockname()[1])

    def open(self) -> WebServer:
        """Bind; raise UnavailableError for an address that cannot be had, or a library that is missing."""
        uvicorn, application, desk = _libraries()
        self._socket = _bind(self._address)
        try:
            bound = WebAddress(self._address.host, self.port, self._address.certificate, self._address.key)
            self._desk = desk.Desk(self._state, self._listening_since_s)
            config = uvicorn.Config(
                application.Application(self._desk, bound).asgi,
                interface="asgi3", ws="none", lifespan="off", log_config=None, access_log=False,
                server_header=False, proxy_headers=False, limit_concurrency=_MOST_AT_ONCE,
                timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_LAST_ANSWERS_S,
            )  # fmt: skip
            config.load()
            config.http_protocol_class = bounded(config.http_protocol_class)
            logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # else a line for each garbled request
            if self._address.certificate and self._address.key:
                config.ssl = server_context(self._address.certificate, self._address.key)
            self._server = uvicorn.Server(config)
        except BaseException:
            self._close()
            raise
        log.info("the page is at %s", bound)
        return self

    def start(self) -> WebServer:
        """Serve on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answer what has come, then end; from another thread than the page's."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception:
            log.exception("the page failed; the server goes on without it")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._desk is not None:
            self._desk.close()
            self._desk = None


def open_page(state: Path, address: WebAddress) -> WebServer | None:
    """Return the page, served. Where nobody asked for it and it cannot be had, say so and return None."""
    try:
        return WebServer(state, address, listening_since_s=time.time()).open().start()
    except UnavailableError as error:
        if address.chosen:
            raise
        log.warning("no page: %s (--web HOST:PORT chooses another place)", error)
        return None


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import uvicorn

        from fleet.adapters import web_desk
        from fleet.web import application
    except ModuleNotFoundError as error:
        raise UnavailableError(f"the page needs {error.name}: pip install 'edgeflock[fleet]'") from error
    return uvicorn, application, web_desk


def _bind(address: WebAddress) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UnavailableError(f"no address {address.host}: {error.strerror}") from error
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(place)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        taken = error.errno == errno.EADDRINUSE
        why = "the port is taken" if taken else error.strerror
        raise UnavailableError(f"cannot listen on {address.host}:{address.port}: {why}") from error
    return sock
