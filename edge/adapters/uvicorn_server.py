"""uvicorn as the server: sockets, TLS, connections that stall, and an orderly end.

Rules:
- sockets are opened here and not by uvicorn, which would let everybody use a Unix socket (0666), and
  connections are accepted by accepting.py, which counts them;
- connections that stall are looked for once a second (uvicorn_protocol.py);
- httptools and uvloop are used where they are installed, h11 and asyncio elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.adapters.accepting import Acceptor, Welcome
from edge.web.admission import Limits
from edge.web.application import Application
from wire.adapters.server_tls import server_context
from wire.deadline import Deadline
from wire.errors import UnavailableError

log = logging.getLogger(__name__)

_BACKLOG: Final = 512
_EVERY_S: Final = 1.0
_DRAIN_EVERY_S: Final = 0.02

#: File descriptors for everything but connections, and the connections that are let in at the least.
_OTHER_FILES: Final = 64
_FEWEST_CONNECTIONS: Final = 8


@dataclass(frozen=True)
class Listen:
    """Where to listen: a TCP address (port 0 takes a free one), a Unix socket, or both."""

    host: str = "127.0.0.1"
    port: int | None = 8000
    unix: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class UvicornServer:
    """Serves an ASGI application on sockets; `run` in the main thread, or `start` and `stop` a thread."""

    def __init__(self, application: Application, listen: Listen, limits: Limits) -> None:
        self._application = application
        self._listen = listen
        self._limits = limits
        self._ending: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []
        self._unix_file: tuple[int, int] | None = None
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._server.server_state.connections) if self._server else 0

    @property
    def port(self) -> int | None:
        """The TCP port; None where only a Unix socket is open."""
        for sock in self._sockets:
            if sock.family != socket.AF_UNIX:
                return int(sock.getsockname()[1])
        return None

    def open(self) -> None:
        """Bind the sockets; raise UnavailableError when an address is taken, or uvicorn not installed."""
        _import_uvicorn()
        most = _affordable_connections()
        if self._limits.connections > most:
            log.warning("at most %d connections: the limit of open files allows no more", most)
            self._limits = replace(self._limits, connections=most)
        try:
            if self._listen.port is not None:
                self._sockets.append(_open_tcp(self._listen.host, self._listen.port))
            if self._listen.unix is not None:
                self._sockets.append(_open_unix(self._listen.unix))
                self._unix_file = _file_at(self._listen.unix)
        except BaseException:
            self._close_sockets()
            raise

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`; call `started` on the loop once it listens.

        On the main thread SIGTERM and SIGINT end it too.
        """
        uvicorn, server_class = _import_uvicorn()
        self._server = server_class(self._config(uvicorn), self._limits)
        factory = self._server.config.get_loop_factory()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self._serve(started))

    def start(self, failed: Callable[[], None] = lambda: None) -> None:
        """Serve on a thread of its own; return once it listens. `failed` is called should it break off."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run_thread, args=(ready, failed), name="http", daemon=True
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Answer what is inside, refuse what comes, then close the sockets. From any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._end_soon)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run_thread(self, ready: threading.Event, failed: Callable[[], None]) -> None:
        try:
            self.run(ready.set)
        except Exception:
            log.exception("the HTTP server failed")
            failed()
        finally:
            ready.set()

    async def _serve(self, started: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._end_soon)
        guard = asyncio.create_task(self._guard())
        try:
            self._server.when_started = started
            await self._server.serve(sockets=self._sockets)
        finally:
            guard.cancel()
            self._close_sockets()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        """Drain with the sockets open: meanwhile health says not ready, and new requests are told to go."""
        self._application.drain()
        deadline = Deadline.after(self._limits.timeout_s)
        while self._application.busy and not deadline.passed:
            await asyncio.sleep(_DRAIN_EVERY_S)
        self._server.should_exit = True

    async def _guard(self) -> None:
        """End connections that stall, once a second."""
        while True:
            await asyncio.sleep(_EVERY_S)
            now_s = asyncio.get_running_loop().time()
            for connection in list(self._server.server_state.connections):
                connection.end_if_stalled(now_s)

    def _config(self, uvicorn: Any) -> Any:
        # Here and not above: it needs uvicorn, whose absence is one line.
        from edge.adapters.uvicorn_protocol import make_protocol

        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            http=make_protocol(self._application, self._limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(self._limits.keep_alive_s),
            timeout_graceful_shutdown=int(self._limits.timeout_s) + 1,
            backlog=_BACKLOG,
        )
        config.load()
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # else a line for each garbled request
        if self._listen.certificate is not None:
            config.ssl = server_context(self._listen.certificate, self._listen.key)
        return config

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        path, ours = self._listen.unix, self._unix_file
        self._unix_file = None
        if path is not None and ours is not None and _file_at(path) == ours:  # else it is another's by now
            with contextlib.suppress(OSError):
                path.unlink()


def _import_uvicorn() -> tuple[Any, Any]:
    try:
        import uvicorn
        import uvicorn.server
    except ImportError as error:
        raise UnavailableError("serving over HTTP needs uvicorn: pip install 'edgeflock[serve]'") from error

    class Server(uvicorn.server.Server):
        """uvicorn's, that leaves signals and accepting to us and says when it listens."""

        when_started: Callable[[], None]

        def __init__(self, config: Any, limits: Limits) -> None:
            super().__init__(config)
            self._limits = limits

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await self.lifespan.startup()
            self.servers = []
            self._acceptor = Acceptor(
                Welcome(
                    make_protocol=self._make_protocol,
                    tls=self.config.ssl,
                    handshake_s=self._limits.headers_timeout_s,
                    most=self._limits.connections,
                    made=self.server_state.connections,
                )
            )
            self._acceptor.start(sockets or [])
            self.started = True
            self.when_started()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await self._acceptor.stop()
            await super().shutdown(sockets)

        def _make_protocol(self) -> asyncio.Protocol:
            make: Any = self.config.http_protocol_class
            protocol: asyncio.Protocol = make(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return protocol

    return uvicorn, Server


def _open_tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UnavailableError(f"no address {host}: {error.strerror}") from error
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


def _open_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that its owner and group may use; a dead server's is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_dead_socket(path):
            path.unlink()
        before = os.umask(0o117)  # between bind and chmod anybody could connect
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise UnavailableError(f"cannot listen on {path}: {error.strerror or error}") from error
    return sock


def _is_dead_socket(path: Path) -> bool:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_EVERY_S)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED  # a busy one's queue may be full


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _affordable_connections() -> int:
    """Return how many connections the limit of open files allows, after it was raised if it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(_FEWEST_CONNECTIONS, soft - _OTHER_FILES)
