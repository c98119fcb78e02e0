"""What a visitor who never speaks, or never ends, costs the page."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleet.adapters import web_server
from fleet.adapters.web_connection import bounded
from fleet.adapters.web_server import WebServer
from fleet.web.address import WebAddress

MOST = 20


@pytest.fixture(params=[H11Protocol, HttpToolsProtocol])
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[int]:
    monkeypatch.setattr(web_server, "bounded", lambda _: bounded(request.param, most=MOST, look_every_s=0.3))
    server = WebServer(tmp_path, WebAddress(port=0)).open().start()
    yield server.port
    server.stop()


def connect(port: int, said: bytes = b"") -> socket.socket:
    visitor = socket.create_connection(("127.0.0.1", port), timeout=30)
    visitor.sendall(said)
    return visitor


def ended(visitor: socket.socket) -> bool:
    """Read until the server ends it; raises TimeoutError when it does not."""
    try:
        while visitor.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


HOST = b"Host: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHo",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /heal",
        b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nname=",
    ],
)
def test_who_does_not_end_what_he_says_is_sent_away(port: int, said: bytes) -> None:
    with connect(port, said) as visitor:
        assert ended(visitor)


def test_more_than_so_many_are_not_let_in_and_others_are_when_they_have_gone(port: int) -> None:
    with ExitStack() as crowd:
        visitors = [crowd.enter_context(connect(port)) for _ in range(3 * MOST)]
        assert all(map(ended, visitors))
    with connect(port, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") as visitor:
        assert visitor.recv(4096).startswith(b"HTTP/1.1 200")
