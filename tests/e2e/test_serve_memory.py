"""Requests that would take the server's memory or its time: each is counted as what it becomes."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.needs import needs_peaks
from tests.support.odd_sizes import LONG_ANSWER, PICTURE, long_answer, mean_colour, table
from tests.support.served import (
    Served,
    read_response,
    request,
    resident_bytes,
    serving,
)
from wire.deadline import Deadline, wait_until

PREDICT_BAD = "/v1/models/bad:predict"
INFER_BAD = "/v2/models/bad/infer"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    bundle = tmp_path_factory.mktemp("bundles") / "colours.bundle"
    bundle.write_bytes(mean_colour())
    with serving(bundle) as served:
        yield served


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    bundle = tmp_path_factory.mktemp("bundles") / "long.bundle"
    bundle.write_bytes(long_answer())
    with serving(bundle, "--timeout-s", "2") as served:
        yield served


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def held_bytes(served: Served) -> int:
    return int(served.ask("GET", "/metrics")[1].partition("\nedgeflock_http_held_bytes ")[2].split()[0])


@needs_peaks
def test_inflated_bodies_count_and_others_are_answered_meanwhile(colours: Served) -> None:
    rows = 26
    size = int(np.prod(PICTURE)) * 4 * rows
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, *PICTURE[1:]]}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
    packed = gzip.compress(head + bytes(size))
    assert len(packed) < 20_000
    whole = request(
        INFER_BAD, packed, "Content-Encoding: gzip", f"Inference-Header-Content-Length: {len(head)}"
    )
    before = resident_bytes(colours.process.pid)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(colours.connect()) for _ in range(64)]
        for sock in socks:
            sock.sendall(whole)
        start = time.monotonic()
        held_bytes(colours)
        waited_s = time.monotonic() - start
        statuses = {read_response(sock)[9:12] for sock in socks}
    assert b"200" in statuses
    assert statuses <= {b"200", b"503", b"504"}
    assert peak_bytes(colours.process.pid) - before < 200_000_000
    assert waited_s < 2
    assert held_bytes(colours) == 0


@needs_peaks
def test_json_counts_as_what_it_is_when_parsed(colours: Served) -> None:
    before = resident_bytes(colours.process.pid)
    hostile = b'{"instances":[' + b",".join([b"[]"] * 5_200_000) + b"]}"
    start = time.monotonic()
    status, answer = colours.ask("POST", PREDICT_BAD, hostile)
    assert (status, "binary tensors" in answer["error"]) == (413, True)
    assert time.monotonic() - start < 10
    assert peak_bytes(colours.process.pid) - before < 200_000_000
    picture = json.dumps({"instances": [np.full(PICTURE[1:], 0.1234567).tolist()]}).encode()
    assert colours.ask("POST", PREDICT_BAD, picture)[0] == 200
    assert held_bytes(colours) == 0


@needs_peaks
def test_answers_count_before_they_are_made_and_until_they_are_read(long: Served) -> None:
    document = json.dumps({"instances": [[1, 2, 3, 4]] * 48}).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", long.port))
            sock.sendall(request(PREDICT_BAD, document))
        assert wait_until(lambda: held_bytes(long) >= 48 * LONG_ANSWER * 20, Deadline.after(10))
        status, _ = long.ask("POST", PREDICT_BAD, document)
        assert status == 503
        # Who does not read is cut off, and what it held is free.
        assert wait_until(lambda: held_bytes(long) == 0, Deadline.after(15))
    assert peak_bytes(long.process.pid) < 400_000_000
    assert long.ask("POST", PREDICT_BAD, json.dumps({"instances": [[1, 2, 3, 4]]}).encode())[0] == 200
    assert long.ask("POST", PREDICT_BAD, json.dumps({"instances": [[1, 2, 3, 4]] * 64}).encode())[0] == 413


def test_a_client_that_reads_steadily_gets_all_of_a_long_answer(long: Served) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", long.port))
        sock.sendall(request(PREDICT_BAD, json.dumps({"instances": [[0.1, 2, 3, 4]] * 20}).encode()))
        data = bytearray(sock.recv(4096))
        length = int(data.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        start = time.monotonic()
        while part := sock.recv(32_768):
            data += part
            if len(data) > length:
                break
            time.sleep(0.02)  # the client's pace: it is what is tested
    assert len(data.partition(b"\r\n\r\n")[2]) == length
    assert time.monotonic() - start > 3, "read in more than --timeout-s"


def test_a_row_that_the_model_fails_is_the_only_one_of_its_batch_that_fails(tmp_path: Path) -> None:
    bundle = tmp_path / "table.bundle"
    bundle.write_bytes(table())
    with (
        serving(bundle, "--batch-rows", "4", "--batch-wait-ms", "500") as served,
        contextlib.ExitStack() as stack,
    ):
        socks = [stack.enter_context(served.connect()) for _ in range(4)]
        for sock, last in zip(socks, (1, 9_000_000, 2, 0), strict=True):
            sock.sendall(request(PREDICT_BAD, json.dumps({"instances": [[0, 1, 2, last]]}).encode()))
        assert [read_response(sock)[9:12] for sock in socks] == [b"200", b"500", b"200", b"200"]
