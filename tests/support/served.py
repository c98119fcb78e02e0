"""`edgeflock serve` as a process, and a client that writes its requests by hand."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.local_fleet import ROOT

ROW = [1.0, -1.0, 2.5, 0.0]
ANSWER = [1.0, 0.0, 2.5, 0.0]
PREDICT = "/v1/models/tiny:predict"
BODY = json.dumps({"instances": [ROW]}).encode()


class Served:
    """A server process on a free port."""

    def __init__(self, *arguments: object, start: str = "") -> None:
        command = [sys.executable, *(["-c", start] if start else ["-m", "edgeflock"]), "serve"]
        command += map(str, arguments)
        if "--port" not in command:
            command += ["--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.port = int(self.line.rpartition("127.0.0.1:")[2].split()[0]) if "127.0.0.1" in self.line else 0

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        return ask(self.port, method, path, body, **headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> str:
        """End it in any case; return what it wrote to standard error."""
        if self.process.poll() is None:
            self.process.kill()
        return self.process.communicate()[1]


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Ask a server on this machine; return the status, and the document or text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data[:1] == b"{" else data.decode()
    finally:
        connection.close()


@contextlib.contextmanager
def serving(*arguments: object, start: str = "") -> Iterator[Served]:
    served = Served(*arguments, start=start)
    try:
        yield served
    finally:
        log = served.close()
        assert "Traceback" not in log


def request(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_response(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += (part := sock.recv(65536))
        if not part:
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return head + body


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
