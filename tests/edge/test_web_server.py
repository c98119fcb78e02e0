"""What the server opens: Unix sockets, keys, and as many connections as there are files."""

from __future__ import annotations

import resource
import socket
import threading
from pathlib import Path

import pytest

from edge.adapters.uvicorn_server import Listen, UvicornServer, _affordable_connections
from edge.web.admission import Limits
from tests.support.asgi import client_of, shelf_of
from tests.support.server_certificate import make_server_certificate
from wire.adapters.server_tls import server_context
from wire.errors import SettingsError, UnavailableError

pytest.importorskip("uvicorn")


def server_at(path: Path) -> UvicornServer:
    return UvicornServer(client_of(shelf_of()).application, Listen(port=None, unix=path), Limits())


def test_a_file_that_is_no_socket_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("precious", encoding="ascii")
    with pytest.raises(UnavailableError):
        server_at(path).open()
    assert path.read_text(encoding="ascii") == "precious"


def test_a_running_servers_socket_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        with pytest.raises(UnavailableError):
            server_at(path).open()
        assert path.exists()


def test_a_socket_that_took_the_place_of_ours_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = server_at(path)
    server.open()
    path.rename(tmp_path / "moved")
    path.touch()
    server._close_sockets()
    assert path.exists()


def test_our_socket_goes_with_us_and_a_dead_ones_place_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = server_at(path)
    server.open()
    server._close_sockets()
    assert not path.exists()


def test_connections_leave_some_files_for_everything_else() -> None:
    soft, _ = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        affordable = _affordable_connections()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert affordable == raised - 64
        assert raised >= soft
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_encrypted_key_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    certificate, key = make_server_certificate(tmp_path, password=b"secret")
    with pytest.raises(SettingsError, match="the key is encrypted"):
        server_context(certificate, key)


def test_a_server_that_breaks_off_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_off(_started: object) -> None:
        raise RuntimeError("broken")

    http, failed = server_at(tmp_path / "s"), threading.Event()
    http.open()
    monkeypatch.setattr(http, "_serve", break_off)
    http.start(failed.set)
    assert failed.wait(30)
    http.stop()
