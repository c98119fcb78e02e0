"""`edgeflock serve` as a process: real clients, real sockets, and clients that misbehave."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.local_fleet import ROOT
from tests.support.served import (
    ANSWER,
    BODY,
    PREDICT,
    ROW,
    Served,
    is_closed,
    read_response,
    request,
    resident_bytes,
    serving,
)
from tests.support.server_certificate import make_server_certificate
from tests.support.tiny_bundle import write_tiny_bundle
from wire.bundle import pack, unpack
from wire.deadline import Deadline, wait_until


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Versions 1 and 2 of the model of one operator."""
    folder = tmp_path_factory.mktemp("bundles")
    one = write_tiny_bundle(folder / "tiny-1.bundle")
    bundle = unpack(one.read_bytes())
    two = folder / "tiny-2.bundle"
    two.write_bytes(pack(replace(bundle, manifest=replace(bundle.manifest, version="2"))))
    return one, two


@pytest.fixture(scope="module")
def served(bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that leave it running."""
    unix = tmp_path_factory.mktemp("run") / "http.sock"
    with serving(*bundles, "--label", "stable=1", "--unix", unix, "--timeout-s", "3") as served:
        served.unix = unix  # type: ignore[attr-defined]
        yield served
        assert served.end() == 0
        assert not unix.exists()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("dtype", ["FP32", "INT8"])
def test_tritons_own_client_is_answered(served: Served, binary: bool, dtype: str) -> None:
    triton = pytest.importorskip("tritonclient.http")
    utils = pytest.importorskip("tritonclient.utils")
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    assert all((client.is_server_live(), client.is_server_ready(), client.is_model_ready("tiny")))
    assert client.get_server_metadata()["name"] == "edgeflock"
    (tensor,) = client.get_model_metadata("tiny", "1")["inputs"]
    assert tensor["shape"] == [-1, 4]
    values = np.array([ROW] * 3, np.float32)
    if dtype == "INT8":
        values = (values / tensor["parameters"]["scale"] + tensor["parameters"]["zero_point"]).astype(np.int8)
    given = triton.InferInput(tensor["name"], [3, 4], dtype)
    given.set_data_from_numpy(values, binary_data=binary)
    wanted = triton.InferRequestedOutput("y", binary_data=binary)
    for compression in (None, "gzip", "deflate"):
        answer = client.infer("tiny", [given], request_id="7", outputs=[wanted],
                              request_compression_algorithm=compression)  # fmt: skip
        assert answer.get_response()["id"] == "7"
        found = answer.as_numpy("y")
        expected = np.array([ANSWER] * 3) if dtype == "FP32" else np.array([[-1, -3, 2, -3]] * 3)
        assert np.array_equal(found, expected)
    with pytest.raises(utils.InferenceServerException, match="no model 'nobody'"):
        client.infer("nobody", [given])
    client.close()


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        (PREDICT, {"instances": [ROW, ROW]}, {"predictions": [ANSWER, ANSWER]}),
        (
            PREDICT,
            {"signature_name": "serving_default", "instances": [{"x": ROW}]},
            {"predictions": [ANSWER]},
        ),
        ("/v1/models/tiny/versions/1:predict", {"inputs": [ROW]}, {"outputs": [ANSWER]}),
        ("/v1/models/tiny/labels/stable:predict", {"inputs": {"x": [ROW]}}, {"outputs": [ANSWER]}),
    ],
)
def test_tensorflow_servings_documented_requests_are_answered(
    served: Served, path: str, document: object, expected: object
) -> None:
    assert served.ask("POST", path, json.dumps(document).encode()) == (200, expected)


def test_tensorflow_servings_status_and_metadata_are_answered(served: Served) -> None:
    _, status = served.ask("GET", "/v1/models/tiny")
    assert [v["version"] for v in status["model_version_status"]] == ["2", "1"]
    _, metadata = served.ask("GET", "/v1/models/tiny/versions/1/metadata")
    assert metadata["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"


def test_a_unix_socket_is_for_owner_and_group(served: Served) -> None:
    path: Path = served.unix  # type: ignore[attr-defined]
    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(request(PREDICT, BODY))
        assert b'{"predictions"' in read_response(sock)


def test_500_idle_connections_do_not_disturb_a_working_one(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(served.connect())
        assert served.ask("POST", PREDICT, BODY)[0] == 200
        assert (
            int(served.ask("GET", "/metrics")[1].partition("\nedgeflock_http_connections ")[2].split()[0])
            > 500
        )


def test_clients_that_send_a_byte_at_a_time_are_ended_and_do_not_disturb_others(served: Served) -> None:
    whole = request(PREDICT, BODY)
    with contextlib.ExitStack() as stack:
        in_headers = [stack.enter_context(served.connect()) for _ in range(50)]
        in_bodies = [stack.enter_context(served.connect()) for _ in range(100)]
        for sock in in_headers:
            sock.sendall(whole[:30])
        for sock in in_bodies:
            sock.sendall(whole[:-1])
        assert served.ask("POST", PREDICT, BODY)[0] == 200
        assert all(read_response(sock).startswith(b"HTTP/1.1 408") for sock in in_bodies)
        assert all(is_closed(sock) for sock in in_headers)
    assert served.ask("POST", PREDICT, BODY)[0] == 200


def test_a_client_that_sends_requests_without_reading_is_cut_off_and_takes_no_memory(served: Served) -> None:
    before = resident_bytes(served.process.pid)
    with served.connect() as sock, pytest.raises(ConnectionError):
        for _ in range(200):
            sock.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
    assert served.ask("POST", PREDICT, BODY)[0] == 200
    assert resident_bytes(served.process.pid) - before < 30_000_000


def test_a_few_requests_may_be_sent_before_the_first_answer(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(request("/v2/nothing", b"{}") * 8 + request(PREDICT, BODY, "Connection: close"))
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert (answers.count(b"HTTP/1.1 404"), answers.count(b"HTTP/1.1 200")) == (8, 1)


def test_a_body_that_was_refused_and_still_comes_is_ended(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(request("/v2", b"").replace(b"Length: 0", b"Length: 900000"))
        assert read_response(sock).startswith(b"HTTP/1.1 405")
        assert is_closed(sock)


def test_a_connection_is_kept_after_a_refused_body_has_come(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(request("/v2", b"").replace(b"Length: 0", b"Length: 5"))
        assert read_response(sock).startswith(b"HTTP/1.1 405")
        sock.sendall(b"12345" + request(PREDICT, BODY))
        assert read_response(sock).startswith(b"HTTP/1.1 200")


def test_half_a_head_behind_a_request_has_only_the_time_of_a_head(served: Served) -> None:
    with served.connect() as sock:
        for _ in range(3):  # the last ones go the short way
            sock.sendall(request(PREDICT, BODY))
            read_response(sock)
        sock.sendall(request(PREDICT, BODY) + b"POST / HTTP/1.1\r\nHo")
        assert read_response(sock).startswith(b"HTTP/1.1 200")
        assert is_closed(sock)


@pytest.mark.parametrize("path", [PREDICT, "/v2/nothing"])
def test_headers_that_are_too_long_end_the_connection_also_in_one_packet(served: Served, path: str) -> None:
    with served.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(request(path, BODY, *(f"X-{n}: {'a' * 1000}" for n in range(70))))
        assert sock.recv(65536) == b""


def test_two_tokens_are_refused(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(request(PREDICT, BODY, "Authorization: Bearer a", "Authorization: Bearer b"))
        assert read_response(sock).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
    ],
)  # fmt: skip
def test_what_is_no_http_ends_its_connection_and_nothing_else(served: Served, sent: bytes) -> None:
    with served.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(sent)
        answer = sock.recv(65536)
        assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert served.ask("POST", PREDICT, BODY)[0] == 200


def test_a_body_that_never_ends_is_refused_and_takes_no_memory(served: Served) -> None:
    before = resident_bytes(served.process.pid)
    with served.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(request(PREDICT, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        for _ in range(2000):
            sock.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    assert served.ask("POST", PREDICT, BODY)[0] == 200
    assert resident_bytes(served.process.pid) - before < 8_000_000


def test_after_sigterm_the_request_inside_is_answered_and_new_ones_are_refused(
    bundles: tuple[Path, Path],
) -> None:
    whole = request(PREDICT, BODY)
    with serving(bundles[0]) as served, served.connect() as sock:
        assert served.ask("GET", "/v2/health/ready")[0] == 200
        sock.sendall(whole[:-1])
        assert wait_until(lambda: in_bodies(served) == 1, Deadline.after(10))
        served.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: served.ask("GET", "/v2/health/ready")[0] == 503, Deadline.after(10))
        assert served.ask("POST", PREDICT, BODY)[0] == 503
        sock.sendall(whole[-1:])
        assert read_response(sock).startswith(b"HTTP/1.1 200")
        assert served.process.wait(20) == 0


def in_bodies(served: Served) -> int:
    return int(served.ask("GET", "/metrics")[1].partition("\nedgeflock_http_reading ")[2].split()[0])


def test_an_address_for_others_needs_a_token_and_tls_or_a_word(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length\n", encoding="ascii")
    short = tmp_path / "short"
    short.write_text("abc", encoding="ascii")
    for arguments, reason in (
        (["--host", "0.0.0.0"], "needs --token-file"),
        (["--host", "0.0.0.0", "--token-file", token], "in the clear"),
        (["--host", "example.org", "--token-file", short], "at least 16 characters"),
        (["--certificate", token], "go together"),
        (["--certificate", token, "--key", token], "no certificate"),
        (["--port", "99999"], "0 to 65535"),
        (["--label", "x=9"], "no tiny 9"),
        (["--token-file", tmp_path / "none"], "No such file"),
    ):
        command = [sys.executable, "-m", "edgeflock", "serve", str(bundles[0]), *map(str, arguments)]
        if "--port" not in command:
            command += ["--port", "0"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
        line = done.stderr.strip().splitlines()[-1]
        assert (done.returncode, reason in line) == (2, True), done.stderr


def test_with_tls_and_a_token_another_address_is_served(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length\n", encoding="ascii")
    certificate, key = make_server_certificate(tmp_path)
    arguments = ["--host", "0.0.0.0", "--token-file", token, "--certificate", certificate, "--key", key]
    with serving(bundles[0], *arguments) as served:
        port = int(served.line.rpartition(":")[2])
        context = ssl.create_default_context(cafile=str(certificate))
        url = f"https://localhost:{port}{PREDICT}"
        asked = urllib.request.Request(url, BODY, {"Authorization": "Bearer a-token-of-some-length"})
        with urllib.request.urlopen(asked, context=context, timeout=20) as response:
            assert json.loads(response.read()) == {"predictions": [ANSWER]}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(url, BODY), context=context, timeout=20)


def test_a_board_without_wheels_serves_with_h11_asyncio_and_json(bundles: tuple[Path, Path]) -> None:
    start = (
        "import sys; sys.modules.update(httptools=None, uvloop=None, orjson=None); "
        "import edgeflock; sys.exit(edgeflock.main())"
    )
    with serving(bundles[0], start=start) as served, served.connect() as stuck:
        stuck.sendall(b"POST / HTTP/1.1\r\nHost:")
        for _ in range(3):
            assert served.ask("POST", PREDICT, BODY) == (200, {"predictions": [ANSWER]})
        assert served.ask("POST", PREDICT, b"[")[0] == 400
        assert served.end() == 0


def test_a_port_that_is_taken_is_one_line(bundles: tuple[Path, Path], served: Served) -> None:
    command = [sys.executable, "-m", "edgeflock", "serve", str(bundles[0]), "--port", str(served.port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr.splitlines()[-1]
