"""Clients that would take the server's connections, or its memory before a request is whole."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.odd_sizes import PICTURE, mean_colour
from tests.support.served import (
    ANSWER,
    BODY,
    PREDICT,
    Served,
    is_closed,
    read_response,
    request,
    resident_bytes,
    serving,
)
from tests.support.server_certificate import make_server_certificate
from tests.support.tiny_bundle import write_tiny_bundle

PREDICT_BAD = "/v1/models/bad:predict"
CHUNKED = request(PREDICT, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
H11 = (
    "import sys; sys.modules.update(httptools=None, uvloop=None, orjson=None); "
    "import edgeflock; sys.exit(edgeflock.main())"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny-1.bundle")


@pytest.fixture(scope="module")
def served(tiny: Path) -> Iterator[Served]:
    with serving(tiny, "--timeout-s", "3") as served:
        yield served


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    bundle = tmp_path_factory.mktemp("bundles") / "colours.bundle"
    bundle.write_bytes(mean_colour())
    with serving(bundle) as served:
        yield served


@pytest.mark.parametrize(
    "begin",
    [
        CHUNKED + b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY),
        CHUNKED.replace(b":predict", b":nothing") + b"0\r\n",
        request(PREDICT, BODY)[:-1],
        request(PREDICT, BODY)[:-1].replace(b"Host", b"Expect: 100-continue\r\nHost"),
        b"GET /",
    ],
    ids=["trailers", "trailers of a refused request", "head", "head after expect", "url"],
)
@pytest.mark.parametrize("endless", [b"X-a: " + b"a" * 8000 + b"\r\n", b"a" * 8000], ids=["many", "one"])
def test_endless_headers_end_the_connection_wherever_they_come(
    served: Served, begin: bytes, endless: bytes
) -> None:
    if b"Content-Length" in begin:  # the next request's head, while this one is not answered yet
        begin = begin[: -len(BODY) + 1] + BODY[:-1]
    before = resident_bytes(served.process.pid)
    with served.connect() as sock, pytest.raises(ConnectionError):
        sock.sendall(begin)
        for _ in range(10_000):
            sock.sendall(endless)
    assert resident_bytes(served.process.pid) - before < 10_000_000
    assert served.ask("POST", PREDICT, BODY)[0] == 200


def test_an_endless_head_behind_a_request_that_is_answered_ends_the_connection(colours: Served) -> None:
    document = json.dumps({"instances": [np.zeros(PICTURE[1:]).tolist()] * 8}).encode()
    before = resident_bytes(colours.process.pid)
    with colours.connect() as sock, pytest.raises(ConnectionError):
        sock.sendall(request(PREDICT_BAD, document) + b"GET /v2 HTTP/1.1\r\n")
        for _ in range(10_000):
            sock.sendall(b"X-a: " + b"a" * 8000 + b"\r\n")
    assert resident_bytes(colours.process.pid) - before < 60_000_000


def test_a_few_trailers_are_taken_and_dropped(served: Served) -> None:
    with served.connect() as sock:
        for _ in range(2):
            sock.sendall(CHUNKED + b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(BODY), BODY))
            assert read_response(sock).startswith(b"HTTP/1.1 200")


def test_a_long_body_in_small_chunks_is_no_endless_head(served: Served) -> None:
    padded = BODY.replace(b"[[", b"[[" + b" " * 40_000)
    with served.connect() as sock:
        sock.sendall(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in padded) + b"0\r\n\r\n")
        assert read_response(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("start", ["", H11], ids=["httptools", "h11"])
def test_an_offer_to_upgrade_is_ignored(tiny: Path, start: str) -> None:
    headers = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    )
    with serving(tiny, start=start) as served, served.connect() as sock:
        for turn in range(2):
            whole = request(PREDICT, BODY, *headers)
            sock.sendall(whole[:-5])
            sock.sendall(whole[-5:])
            assert b'{"predictions"' in read_response(sock)
            sock.sendall(request(PREDICT, BODY, "Connection: close") if turn else request(PREDICT, BODY))
            assert b'{"predictions"' in read_response(sock)


def test_a_413_is_read_by_a_client_that_sends_all_of_its_body_first(served: Served) -> None:
    for _ in range(6):
        assert served.ask("POST", PREDICT, b" " * 20_000_000)[0] == 413


def test_a_body_that_was_refused_is_not_taken_for_ever(served: Served) -> None:
    with served.connect() as sock, pytest.raises(ConnectionError):
        sock.sendall(request(PREDICT, b"").replace(b"Length: 0", b"Length: 99999999999"))
        for _ in range(200):
            sock.sendall(b" " * 1_000_000)


def test_connections_count_while_their_handshake_lasts_and_it_may_not_last(
    tiny: Path, tmp_path: Path
) -> None:
    certificate, key = make_server_certificate(tmp_path)
    arguments = ["--certificate", certificate, "--key", key, "--max-connections", "20", "--timeout-s", "2"]
    with serving(tiny, *arguments) as served, contextlib.ExitStack() as stack:
        port = int(served.line.rpartition(":")[2])
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(100)]
        assert sum(is_closed(sock) for sock in silent[20:]) == 80
        assert len(list(Path(f"/proc/{served.process.pid}/fd").iterdir())) < 60
        assert all(is_closed(sock) for sock in silent[:20]), "after the time for a handshake"
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port), 20) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as encrypted,
        ):
            encrypted.sendall(request(PREDICT, BODY))
            assert read_response(encrypted).endswith(
                json.dumps({"predictions": [ANSWER]}).replace(" ", "").encode()
            )


def test_one_connection_more_than_the_limit_is_closed_and_the_others_work(tiny: Path) -> None:
    with serving(tiny, "--max-connections", "3") as served, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(served.connect()) for _ in range(5)]
        assert [is_closed(sock) for sock in socks[3:]] == [True, True]
        for sock in socks[:3]:
            sock.sendall(request(PREDICT, BODY))
            assert read_response(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("start", ["", H11], ids=["httptools", "h11"])
def test_a_length_beside_chunks_is_refused(tiny: Path, start: str) -> None:
    both = request(PREDICT, b"", "Transfer-Encoding: chunked").replace(b"Length: 0", b"Length: 5")
    with serving(tiny, start=start) as served, served.connect() as sock:
        sock.sendall(both + b"0\r\n\r\n" + b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 400")
    assert answers.count(b"HTTP/1.1") == 1
