"""The page as a part of the server's process: its socket, its TLS, its end."""

from __future__ import annotations

import logging
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest

from fleet.adapters.web_server import WebServer, open_page
from fleet.web.address import WebAddress
from tests.support.local_fleet import run
from tests.support.server_certificate import make_server_certificate
from wire.errors import SettingsError, UnavailableError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_server_certificate(tmp_path_factory.mktemp("tls"))


def test_a_taken_port_ends_only_what_was_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}: the port is taken"):
            open_page(tmp_path, WebAddress(port=port, chosen=True))
        with caplog.at_level(logging.WARNING):
            assert open_page(tmp_path, WebAddress(port=port)) is None
    assert f"no page: cannot listen on 127.0.0.1:{port}" in caplog.text


def test_it_ends_and_can_be_opened_again_on_its_port(tmp_path: Path) -> None:
    server = WebServer(tmp_path, WebAddress(port=0)).open().start()
    port = server.port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as reply:
        assert reply.read() == b"ok\n"
    server.stop()
    WebServer(tmp_path, WebAddress(port=port)).open().start().stop()


def test_with_tls_browsers_are_told_to_stay_with_it(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    server = WebServer(tmp_path, WebAddress("127.0.0.1", 0, *certificate)).open().start()
    try:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        url = f"https://localhost:{server.port}/login"
        with urllib.request.urlopen(url, timeout=10, context=trust) as reply:
            assert reply.headers["strict-transport-security"]
    finally:
        server.stop()


def test_a_key_that_does_not_fit_is_told(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="no certificate with its key"):
        WebServer(tmp_path, WebAddress("127.0.0.1", 0, certificate[0], certificate[0])).open()
    with pytest.raises(SettingsError, match="no certificate with its key"):
        WebServer(tmp_path, WebAddress("127.0.0.1", 0, tmp_path / "none", tmp_path / "none")).open()


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "192.168.1.10:8080"])
def test_the_command_refuses_to_send_passwords_in_the_clear(tmp_path: Path, address: str) -> None:
    done = run("fleet", "serve", "--unsigned", "--state", tmp_path, "--web", address)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "passwords in the clear" in done.stderr
