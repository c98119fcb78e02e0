"""A real HTTP server that keeps what is posted to it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """A real server; `statuses` are its next answers, 200 after that, but 500 to the alert `chokes_on`."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.chokes_on = ""
        self.posts: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.tokens.append(self.headers["Authorization"])
                hook.headers.append(dict(self.headers))
                hook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                hook.posts.append(json.loads(hook.bodies[-1]))
                chokes = hook.chokes_on and hook.posts[-1]["alert"]["key"] == hook.chokes_on
                usual = 500 if chokes else 200
                self.send_response(hook.statuses.pop(0) if hook.statuses else usual)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
