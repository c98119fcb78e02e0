"""A client of an ASGI application in the same process: no socket, one event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.adapters.tflite import make_loader
from edge.adapters.uvicorn_server import Listen
from edge.loading import load
from edge.runtime import Runtime
from edge.serve_app import make_server
from edge.web.application import Application
from edge.web.service import Options
from edge.web.shelf import ModelShelf, Shelf
from tests.support.tiny_model import tiny_tflite

LABELS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Response:
    """What came back."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks an application; `close` ends its loop and threads."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the application's loop."""
        return self._runner.run(coroutine)

    def get(self, path: str, **headers: str) -> Response:
        response: Response = self.run(self.ask("GET", path, [], headers))
        return response

    def post(self, path: str, body: Any, **headers: str) -> Response:
        """Post a document, or bytes as they are; header names are written with underscores."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response: Response = self.run(self.ask("POST", path, [data], headers))
        return response

    async def ask(
        self, method: str, path: str, parts: Iterable[bytes | None], headers: dict[str, str]
    ) -> Response:
        """Send a body in parts; None as a part never comes."""
        sent: list[Any] = []
        waiting = list(parts) or [b""]
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

        async def receive() -> dict[str, Any]:
            part = waiting.pop(0)
            if part is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": part, "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": given}
        await self.application(scope, receive, send)
        start, *bodies = sent
        return Response(start["status"], dict(start["headers"]), b"".join(body["body"] for body in bodies))

    def close(self) -> None:
        self.application.close()
        self._runner.close()


def tiny_runtime(folder: Path, release: str = "tiny/1", runtime: Runtime | None = None) -> Runtime:
    """Return a runtime with the model of one operator: four numbers, the positive ones come back."""
    path = folder / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    runtime = runtime or Runtime()
    runtime.swap(load(release, path, make_loader(), labels=LABELS))
    return runtime


def shelf_of(*runtimes: Runtime) -> ModelShelf:
    """Return a shelf with these runtimes, under the names of their releases."""
    shelf = ModelShelf()
    for runtime in runtimes:
        name, _, version = (runtime.release or "").rpartition("/")
        shelf.add(name, version, runtime)
    return shelf


def client_of(shelf: Shelf, options: Options | None = None) -> Client:
    """Return a client of an application over `shelf`."""
    application, _ = make_server(shelf, Listen(), options or Options())
    return Client(application)
