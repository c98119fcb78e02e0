"""The agent's HTTP side: the serving models over the same protocols as `edgeflock serve`. Wiring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.serving import Serving
from edge.settings import HttpSettings
from wire.errors import SettingsError

if TYPE_CHECKING:
    from edge.adapters.uvicorn_server import UvicornServer
    from edge.web.application import Application


class AgentHttp:
    """A server over the agent's runtimes, by model, or nothing where the settings ask for none.

    `open` binds, `start` serves on a thread, `stop` answers what is inside and ends. `failed` is called when
    the thread breaks off: nobody is answered from then on.
    """

    def __init__(
        self,
        settings: HttpSettings,
        servings: Mapping[str, Serving],
        recorder: Recorder,
        remembered: Remembered,
        software: str,
    ) -> None:
        self._settings = settings
        self._servings = dict(servings)
        self._recorder = recorder
        self._software = software
        self._remembered = remembered
        self._application: Application | None = None
        self._server: UvicornServer | None = None

    def open(self) -> None:
        """Bind the address; raise SettingsError or UnavailableError when it cannot be had."""
        http = self._settings
        if not http.port and not http.unix:
            return
        # Only here: a device that serves nothing over HTTP has none of it in memory.
        from edge.adapters.uvicorn_server import Listen
        from edge.serve_app import batching_of, limits_of, make_server
        from edge.web.address import TOKEN_READ_BYTES, check_address, check_token
        from edge.web.service import Options
        from edge.web.shelf import LiveShelf

        token = b""
        if http.token_file:
            token = check_token(_read(Path(http.token_file), TOKEN_READ_BYTES), http.token_file)
        if http.port:
            encrypted = bool(http.certificate and http.key)
            check_address(http.host, token=bool(token), encrypted=encrypted, plain_http=http.plain_http)
        listen = Listen(
            host=http.host,
            port=http.port or None,
            unix=Path(http.unix) if http.unix else None,
            certificate=Path(http.certificate) if http.certificate else None,
            key=Path(http.key) if http.key else None,
        )
        shelf = LiveShelf({model: serving.runtime for model, serving in self._servings.items()})
        observers = {serving.runtime: serving.observe for serving in self._servings.values()}
        options = Options(
            limits=limits_of(http), token=token, batching=batching_of(http), version=self._software
        )
        self._application, self._server = make_server(
            shelf,
            listen,
            options,
            on_judgement=self._recorder.judged,
            observers=observers,
            remembered=self._remembered,
        )
        self._server.open()

    def start(self, failed: Callable[[], None] = lambda: None) -> None:
        if self._server is not None:
            self._server.start(failed)

    def stop(self) -> None:
        if self._server is not None and self._application is not None:
            self._server.stop()
            self._application.close()

    @property
    def in_flight(self) -> int:
        """Requests that wait for a model or are in one."""
        return 0 if self._application is None else self._application.in_flight


def _read(path: Path, size_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size_bytes)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
