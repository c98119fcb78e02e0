"""The application on a real model, without a socket: what is asked is answered, or refused for a reason."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.runtime import Prediction, Runtime
from edge.web.admission import Limits
from edge.web.batching import Batching
from edge.web.service import Options
from edge.web.shelf import LiveShelf, ModelShelf
from tests.support.asgi import Client, Response, client_of, shelf_of, tiny_runtime
from wire.errors import InputError

V2 = "/v2/models/tiny/infer"
V1 = "/v1/models/tiny:predict"
ROW = [1.0, -1.0, 2.5, 0.0]
ANSWER = [1.0, 0.0, 2.5, 0.0]


def v2_input(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}
    return {"inputs": [{k: v for k, v in {**tensor, **changes}.items() if v is not ...}]}


class Gate:
    """Makes a runtime slow: it answers when it is let."""

    def __init__(self, runtime: Runtime) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self._predict = runtime.predict
        runtime.predict = self._wait_and_predict  # type: ignore[method-assign]  # the fault that is tested

    def _wait_and_predict(self, inputs: Any, **options: Any) -> Prediction:
        self.entered.release()
        assert self.opened.wait(20)
        return self._predict(inputs, **options)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = client_of(shelf_of(tiny_runtime(tmp_path)))
    yield client
    client.close()


def make_slow(folder: Path, **limits: Any) -> tuple[Client, Gate]:
    runtime = tiny_runtime(folder)
    return client_of(shelf_of(runtime), Options(limits=Limits(**limits))), Gate(runtime)


# --- the two protocols ------------------------------------------------------------------------


def test_v2_floats_are_answered_with_floats_and_codes_with_codes(client: Client) -> None:
    (real,) = client.post(V2, v2_input()).json["outputs"]
    assert (real["datatype"], real["shape"], real["data"]) == ("FP32", [1, 4], ANSWER)
    codes = client.post(V2, v2_input(datatype="INT8", data=[-1, -5, 2, -3])).json["outputs"][0]
    assert (codes["datatype"], codes["data"]) == ("INT8", [-1, -3, 2, -3])


def test_v2_every_answer_carries_an_id_and_a_clients_own_comes_back(client: Client) -> None:
    first, second = (client.post(V2, v2_input()).json["id"] for _ in range(2))
    assert first != second
    answer = client.post(V2, {**v2_input(), "id": "mine"}).json
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", "tiny", "1")


def test_v2_tensors_may_follow_the_json_as_bytes_both_ways(client: Client) -> None:
    head = v2_input(data=..., parameters={"binary_data_size": 16})
    text = json.dumps({**head, "parameters": {"binary_data_output": True}}).encode()
    body = text + struct.pack("<4f", *ROW)
    reply = client.post(V2, body, inference_header_content_length=str(len(text)))
    split = int(reply.headers[b"inference-header-content-length"])
    assert json.loads(reply.body[:split])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert struct.unpack("<4f", reply.body[split:]) == tuple(ANSWER)


def test_v2_several_rows_nested_or_flat_are_answered_in_order(client: Client) -> None:
    rows = [[float(n), -1.0, 0.5, 2.0] for n in range(3)]
    for data in (rows, [number for row in rows for number in row]):
        (output,) = client.post(V2, v2_input(shape=[3, 4], data=data)).json["outputs"]
        assert output["shape"] == [3, 4]
        assert output["data"][::4] == [0.0, 1.0, 2.0]


def test_v2_a_number_too_large_for_its_type_is_refused(client: Client) -> None:
    assert client.post(V2, v2_input(datatype="FP16", data=[70000.0, 0, 0, 0])).status == 400


@pytest.mark.parametrize("encoding", ["gzip", " GZIP ", "identity"])
def test_a_body_may_be_compressed(client: Client, encoding: str) -> None:
    body = json.dumps(v2_input()).encode()
    packed = gzip.compress(body) if "zip" in encoding.lower() else body
    assert client.post(V2, packed, content_encoding=encoding).status == 200


def test_v2_metadata_says_what_the_model_takes(client: Client) -> None:
    (tensor,) = client.get("/v2/models/tiny").json["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", "INT8", [-1, 4])
    assert tensor["parameters"] == {"scale": 0.5, "zero_point": -3}


def test_v2_a_size_is_the_same_number_with_a_point_on_the_quick_and_on_the_long_path(client: Client) -> None:
    for more in ({}, {"id": "long"}):
        assert client.post(V2, {**v2_input(shape=[1.0, 4.0]), **more}).json["outputs"][0]["data"] == ANSWER


def test_tensorflow_rows_and_columns_are_answered_in_their_own_form(client: Client) -> None:
    assert client.post(V1, {"instances": [ROW]}).json == {"predictions": [ANSWER]}
    assert client.post(V1, {"instances": [{"x": ROW}, {"x": ROW}]}).json == {"predictions": [ANSWER, ANSWER]}
    assert client.post(V1, {"inputs": [ROW]}).json == {"outputs": [ANSWER]}
    assert client.post(V1, {"inputs": {"x": [ROW]}, "signature_name": "serving_default"}).json == {
        "outputs": [ANSWER]
    }


def test_tensorflow_status_names_all_versions_the_newest_first(tmp_path: Path) -> None:
    client = client_of(shelf_of(tiny_runtime(tmp_path), tiny_runtime(tmp_path, "tiny/2")))
    states = client.get("/v1/models/tiny").json["model_version_status"]
    assert [(s["version"], s["state"]) for s in states] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert client.post("/v2/models/tiny/versions/1/infer", v2_input()).json["model_version"] == "1"
    assert client.post(V2, v2_input()).json["model_version"] == "2"
    client.close()


# --- what is wrong with a request -----------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        None, [], 1, {}, {"inputs": None}, {"inputs": []}, {"inputs": [1]}, {"inputs": {"x": 1}},
        v2_input(name="z"), v2_input(name=None), v2_input(name=["x"]), v2_input(name=...),
        v2_input(datatype="INT32"), v2_input(datatype="BYTES"), v2_input(datatype=None),
        v2_input(datatype={}),
        v2_input(shape=[4]), v2_input(shape=[2, 4]), v2_input(shape=[-1, 4]), v2_input(shape=[0, 4], data=[]),
        v2_input(shape="1,4"), v2_input(shape=...),
        v2_input(shape=[10**30, 4]), v2_input(shape=[1, 10**12]), v2_input(shape=[1] * 5000),
        v2_input(data=ROW[:3]), v2_input(data=[*ROW, 1]), v2_input(data="1234"), v2_input(data=None),
        v2_input(data=["1", "2", "3", "4"]), v2_input(data=[None] * 4), v2_input(data=[[1, 2], [3]]),
        v2_input(data=[1e300] * 4), v2_input(data=[10**400, 0, 0, 0]), v2_input(data={"b64": "AAAA"}),
        v2_input(data=...),
        v2_input(datatype="INT8", data=[1.5, 0, 0, 0]), v2_input(datatype="INT8", data=[128, 0, 0, 0]),
        v2_input(parameters=[]), v2_input(parameters={"binary_data_size": 16}),
        v2_input(data=..., parameters={"binary_data_size": -16}),
        v2_input(data=..., parameters={"binary_data_size": 16}),
        {"inputs": v2_input()["inputs"] * 2}, {**v2_input(), "id": 7}, {**v2_input(), "id": "a\nb"},
        {**v2_input(), "id": "é"}, {**v2_input(), "id": "a" * 200},
        {**v2_input(), "outputs": [{"name": "z"}]},
        {**v2_input(), "outputs": [{"name": "y"}, {"name": "y"}]}, {**v2_input(), "outputs": 1},
        {**v2_input(), "parameters": {"timeout": -1}},
        {**v2_input(), "parameters": {"binary_data_output": 1}},
        {**v2_input(), "parameters": {"sequence_id": 5, "sequence_start": True}},
        {**v2_input(), "outputs": [{"name": "y", "parameters": {"shared_memory_region": "a"}}]},
        v2_input(shape=[1.5, 4]), v2_input(shape=[1, "4"]),
    ],
)  # fmt: skip
def test_v2_what_does_not_fit_is_refused_with_a_reason(client: Client, document: Any) -> None:
    reply = client.post(V2, document)
    assert (reply.status, list(reply.json)) == (400, ["error"])


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"instances": [ROW], "inputs": [ROW]}, {"instances": []}, {"instances": ROW},
        {"instances": {"x": ROW}}, {"instances": [ROW, ROW[:3]]}, {"instances": [{"z": ROW}]},
        {"instances": [{}]},
        {"instances": [{"x": ROW}, ROW]}, {"instances": [{"b64": "AAAA"}]},
        {"instances": [["a", "b", "c", "d"]]},
        {"inputs": ROW}, {"inputs": {}}, {"inputs": {"x": ROW}}, {"inputs": []}, {"inputs": {"b64": "AAAA"}},
        {"instances": [ROW] * 1000}, {"instances": [[[[[[[[[[1]]]]]]]]]]},
        {"instances": [ROW], "signature_name": 3},
        {"instances": [ROW], "signature_name": "other"},
        {"instances": [{"x": ROW}], "signature_name": "other"},
        {"inputs": None, "signature_name": "other"},
    ],
)  # fmt: skip
def test_tensorflow_what_does_not_fit_is_refused_with_a_reason(client: Client, document: Any) -> None:
    reply = client.post(V1, document)
    assert (reply.status, list(reply.json)) == (400, ["error"])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"NaN", b'{"instances": [[NaN, 0, 0, 0]]}', b"[" * 100_000, b'{"a":' * 5000,
        b'{"instances": [[Infinity, 0, 0, 0]]}', b'{"instances": [[1e999, 0, 0, 0]]}', b"9" * 10_000,
        b'{"instances": [["\\ud800", 0, 0, 0]]}', b'"\\u0000"', b"\x00" * 50,
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(client: Client, body: bytes) -> None:
    assert client.post(V1, body).status == 400
    assert client.post(V2, body).status == 400


@pytest.mark.parametrize("length", ["-1", "x", "", "999999", "99999999999999999999", "1e3", "\xb2"])
def test_a_header_that_lies_about_the_json_is_refused(client: Client, length: str) -> None:
    body = json.dumps(v2_input()).encode()
    assert client.post(V2, body, inference_header_content_length=length).status == 400


def test_bytes_that_do_not_add_up_are_refused(client: Client) -> None:
    text = json.dumps(v2_input(data=..., parameters={"binary_data_size": 16})).encode()
    for tail in (b"", b"\x00" * 15, b"\x00" * 17, struct.pack("<4f", 1, 2, 3, float("nan"))):
        reply = client.post(V2, text + tail, inference_header_content_length=str(len(text)))
        assert reply.status == 400


WHOLE = '{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(
        ["inputs", "instances", "name", "shape", "data", "datatype", "parameters", "outputs", "id", "x",
         "binary_data_size", "truth"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = client_of(shelf_of(tiny_runtime(tmp_path_factory.mktemp("fuzzed"))))
    yield client
    page = client.get("/metrics").body.decode()
    assert "edgeflock_http_crashes_total 0\n" in page
    assert "edgeflock_http_held_bytes 0\n" in page
    assert "edgeflock_http_in_flight 0\n" in page
    client.close()


@given(document=json_values, where=st.sampled_from([V1, V2, "/feedback"]), wrapped=st.booleans())
def test_no_document_makes_the_server_fail(fuzzed: Client, document: Any, where: str, wrapped: bool) -> None:
    if wrapped:
        document = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": document}]}
    assert fuzzed.post(where, document).status < 500


@given(depth=st.sampled_from([1, 8, 900, 950, 1000, 1020]), inside=st.sampled_from(["", "1", '"x"']))
@pytest.mark.parametrize(
    ("where", "text"),
    [
        (V2, '{"inputs": [{"name": %s, "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}]}'),
        (V2, '{"inputs": [{"name": "x", "shape": %s, "datatype": "FP32", "data": [0, 0, 0, 0]}]}'),
        (V2, '{"inputs": [{"name": "x", "shape": [1, 4], "datatype": %s, "data": [0, 0, 0, 0]}]}'),
        (V2, '{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": %s}]}'),
        (V2, '{"id": %s, "inputs": [' + WHOLE + "]}"),
        (V2, '{"outputs": [{"name": %s}], "inputs": [' + WHOLE + "]}"),
        (V2, '{"parameters": {"timeout": %s}, "inputs": [' + WHOLE + "]}"),
        (V1, '{"instances": [{"x": %s}]}'),
        (V1, '{"instances": [[0, 0, 0, 0]], "signature_name": %s}'),
        ("/feedback", '{"id": %s, "truth": 1}'),
        ("/feedback", '{"id": "waiting", "truth": [%s]}'),
    ],
)  # fmt: skip
def test_no_depth_makes_the_server_fail(
    fuzzed: Client, where: str, text: str, depth: int, inside: str
) -> None:
    fuzzed.post(V2, {**v2_input(), "id": "waiting"})
    for opening, closing in ("[]", ('{"a":[', "]}")):
        nested = opening * depth + inside + closing * depth
        reply = fuzzed.post(where, (text % nested).encode())
        assert 400 <= reply.status < 500 or depth == 1


@given(
    body=st.binary(max_size=200),
    header=st.sampled_from(["inference-header-content-length", "content-encoding", "content-length"]),
    value=st.binary(max_size=8).map(lambda b: b.decode("latin-1"))
    | st.sampled_from(["gzip", "deflate", "0", "3"]),
)
def test_no_bytes_make_the_server_fail(fuzzed: Client, body: bytes, header: str, value: str) -> None:
    reply: Response = fuzzed.run(fuzzed.ask("POST", V2, [body], {header: value}))
    assert 400 <= reply.status < 500


@given(path=st.text(max_size=30), method=st.sampled_from(["GET", "POST", "PUT"]))
def test_no_path_makes_the_server_fail(fuzzed: Client, path: str, method: str) -> None:
    reply: Response = fuzzed.run(fuzzed.ask(method, "/" + path, [b"{}"], {}))
    assert reply.status in (200, 400, 404, 405, 501)


# --- limits and time ------------------------------------------------------------------------------


def test_a_body_that_no_input_needs_is_refused_before_it_is_read(client: Client) -> None:
    reply: Response = client.run(client.ask("POST", V2, [None], {"content-length": "10000000"}))
    assert reply.status == 413
    assert reply.headers[b"connection"] == b"close"


def test_a_body_without_a_length_is_cut_off_where_it_gets_too_long(client: Client) -> None:
    reply: Response = client.run(client.ask("POST", V2, [b" " * 10_000] * 50, {}))
    assert reply.status == 413
    assert b"edgeflock_http_held_bytes 0\n" in client.get("/metrics").body


def test_what_long_json_takes_is_held_while_it_is_parsed_and_let_go(tmp_path: Path) -> None:
    rows = [[0.123456789] * 4] * 64
    for held_bytes, status in ((1_000_000, 200), (20_000, 413)):
        limits = Limits(held_bytes=held_bytes)
        client = client_of(shelf_of(tiny_runtime(tmp_path)), Options(limits=limits))
        body = json.dumps({"instances": rows}).encode()
        for packed, headers in (
            (body + b" " * 66_000, {}),
            (gzip.compress(body), {"content_encoding": "gzip"}),
        ):
            assert client.post(V1, packed, **headers).status == status
        assert b"edgeflock_http_held_bytes 0\n" in client.get("/metrics").body
        client.close()


def test_a_header_for_another_protocol_does_not_hide_what_json_takes(tmp_path: Path) -> None:
    client = client_of(shelf_of(tiny_runtime(tmp_path)), Options(limits=Limits(held_bytes=100_000)))
    hostile = b'{"instances":[' + b",".join([b"[]"] * 22_500) + b"]}"
    for path in (V1, V2):
        for length in ("0", str(len(hostile))):
            reply = client.post(path, hostile, inference_header_content_length=length)
            assert reply.status == (400 if (path, length) == (V2, "0") else 413)
    client.close()


def test_requests_beyond_the_limit_are_shed_while_the_first_are_answered(tmp_path: Path) -> None:
    client, gate = make_slow(tmp_path, in_flight=2)

    async def scenario() -> tuple[list[Response], Response]:
        asked = [asyncio.ensure_future(ask(client)) for _ in range(2)]
        while not gate.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)
        shed = await ask(client)
        gate.opened.set()
        return await asyncio.gather(*asked), shed

    answered, shed = client.run(scenario())
    assert (shed.status, shed.headers[b"retry-after"]) == (429, b"1")
    assert [reply.status for reply in answered] == [200, 200]
    client.close()


def test_a_slow_answer_is_given_up_in_time_and_others_still_come(tmp_path: Path) -> None:
    client, gate = make_slow(tmp_path)
    late = client.post(V2, {**v2_input(), "parameters": {"timeout": 50_000}})
    assert late.status == 504
    gate.opened.set()
    assert client.post(V2, v2_input()).status == 200
    client.close()


def test_a_body_that_does_not_come_is_given_up_and_its_bytes_are_let_go(tmp_path: Path) -> None:
    client = client_of(shelf_of(tiny_runtime(tmp_path)), Options(limits=Limits(timeout_s=0.05)))
    reply: Response = client.run(client.ask("POST", V2, [b"{", None], {}))
    assert reply.status == 408
    assert b"edgeflock_http_held_bytes 0\n" in client.get("/metrics").body
    client.close()


def test_while_draining_the_last_answer_comes_and_new_requests_are_refused(tmp_path: Path) -> None:
    client, gate = make_slow(tmp_path)

    async def scenario() -> tuple[Response, Response, Response]:
        asked = asyncio.ensure_future(ask(client))
        while not gate.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)
        client.application.drain()
        refused, health = await ask(client), await client.ask("GET", "/v2/health/ready", [], {})
        gate.opened.set()
        return await asked, refused, health

    last, refused, health = client.run(scenario())
    assert (last.status, refused.status, health.status) == (200, 503, 503)
    assert not client.application.busy
    client.close()


async def ask(client: Client) -> Response:
    return await client.ask("POST", V2, [json.dumps(v2_input()).encode()], {})


# --- models that come and go ----------------------------------------------------------------------


def test_a_live_model_may_be_swapped_at_any_time(tmp_path: Path) -> None:
    runtime = Runtime()
    client = client_of(LiveShelf({"tiny": runtime}))
    assert client.post(V2, v2_input()).status == 503
    assert client.get("/v2/health/ready").status == 503
    for version in ("1", "2", "3"):
        tiny_runtime(tmp_path, f"tiny/{version}", runtime)
        assert client.get("/v2/models/tiny").json["versions"] == [version]
        assert {client.post(V2, v2_input()).json["model_version"] for _ in range(3)} == {version}
    client.close()


def test_no_request_fails_while_models_are_swapped(tmp_path: Path) -> None:
    runtime, stop = tiny_runtime(tmp_path, "tiny/0"), threading.Event()
    client = client_of(LiveShelf({"tiny": runtime}))

    def swap() -> None:
        version = 0
        while not stop.is_set():
            version += 1
            tiny_runtime(tmp_path, f"tiny/{version}", runtime)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        statuses = {client.post(V2, v2_input()).status for _ in range(500)}
    finally:
        stop.set()
        thread.join()
    assert statuses == {200}
    client.close()


def test_requests_are_answered_together_when_that_is_wanted(tmp_path: Path) -> None:
    options = Options(batching=Batching(rows=4, wait_s=0.05))
    client = client_of(shelf_of(tiny_runtime(tmp_path)), options)

    async def ask_all() -> list[Response]:
        bodies = [json.dumps(v2_input(data=[float(n), 0.0, 0.0, 0.0])).encode() for n in range(6)]
        return await asyncio.gather(*(client.ask("POST", V2, [body], {}) for body in bodies))

    answers = [reply.json["outputs"][0]["data"][0] for reply in client.run(ask_all())]
    assert answers == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    client.close()


def test_a_model_that_cannot_be_resized_answers_a_batch_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = tiny_runtime(tmp_path)
    predict_batch = runtime.predict_batch

    def refuse(inputs: Any, *, resize: bool = False, **more: Any) -> Any:
        if resize:
            raise InputError("cannot run 4 rows at once")
        return predict_batch(inputs, **more)

    monkeypatch.setattr(runtime, "predict_batch", refuse)
    client = client_of(shelf_of(runtime), Options(batching=Batching(rows=4, wait_s=0.0)))
    assert [client.post(V2, v2_input()).status for _ in range(3)] == [200] * 3
    assert caplog.text.count("runs row by row: cannot run 4 rows at once") == 1
    client.close()


def test_a_client_that_goes_before_its_answer_is_no_fault(client: Client) -> None:
    async def gone(*_: Any) -> Any:
        raise RuntimeError("the handler is closed")

    async def whole() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(v2_input()).encode(), "more_body": False}

    for receive, send in ((whole, gone), (gone, gone)):
        client.run(client.application(
            {"type": "http", "method": "POST", "path": V2, "headers": []}, receive, send
        ))  # fmt: skip
    assert "edgeflock_http_crashes_total 0\n" in client.get("/metrics").body.decode()


# --- feedback, metrics, token ---------------------------------------------------------------------


def test_the_truth_of_a_prediction_is_counted_for_its_release(client: Client) -> None:
    by_v2 = client.post(V2, v2_input()).json["id"]
    by_v1 = client.post(V1, {"instances": [ROW, ROW]}).headers[b"prediction-id"].decode()
    assert client.post("/feedback", {"id": by_v2, "truth": "c"}).json["correct"] == 1
    told = client.post("/feedback", {"id": by_v1, "truth": [2, 0]}).json
    assert told == {"release": "tiny/1", "correct": 1, "wrong": 1}
    page = client.get("/metrics").body.decode()
    assert 'edgeflock_feedback_total{model="tiny",version="1",correct="true"} 2\n' in page


def test_an_id_that_waits_for_its_truth_is_not_given_to_another_prediction(client: Client) -> None:
    for data in ([9.0, 0.0, 0.0, 0.0], ROW):
        assert client.post(V2, {**v2_input(data=data), "id": "mine"}).status == 200
    assert client.post("/feedback", {"id": "mine", "truth": "a"}).json["correct"] == 1
    ours = client.post(V2, v2_input()).json["id"]
    forged = client.post(V2, {**v2_input(data=[9.0, 0.0, 0.0, 0.0]), "id": ours})
    assert (forged.status, "choose another" in forged.json["error"]) == (400, True)


def test_a_model_under_another_name_is_counted_under_that_name(tmp_path: Path) -> None:
    shelf = ModelShelf()
    shelf.add("alias", "1", tiny_runtime(tmp_path))
    client = client_of(shelf)
    path = "/v2/models/alias/infer"
    first = client.post(path, v2_input()).json["id"]
    client.post(path, {**v2_input(), "id": "long"})
    assert client.post("/feedback", {"id": first, "truth": "c"}).json["release"] == "alias/1"
    page = client.get("/metrics").body.decode()
    assert 'edgeflock_predictions_total{model="alias",version="1"} 2\n' in page
    assert 'edgeflock_feedback_total{model="alias",version="1",correct="true"} 1\n' in page
    assert 'model="tiny"' not in page
    client.close()


def test_counters_of_models_that_are_served_are_kept_however_many_they_are(tmp_path: Path) -> None:
    client = client_of(shelf_of(*(tiny_runtime(tmp_path, f"tiny/{n}") for n in range(40))))
    for _ in range(3):
        for n in range(40):
            client.post(f"/v2/models/tiny/versions/{n}/infer", v2_input())
    page = client.get("/metrics").body.decode()
    assert all(f'edgeflock_predictions_total{{model="tiny",version="{n}"}} 3\n' in page for n in range(40))
    client.close()


def test_with_a_token_only_health_is_open(tmp_path: Path) -> None:
    client = client_of(shelf_of(tiny_runtime(tmp_path)), Options(token=b"a-long-enough-token"))
    assert client.get("/v2/health/live").status == 200
    for wrong in ("", "Bearer", "Bearer wrong", "Basic a-long-enough-token"):
        assert client.post(V2, v2_input(), authorization=wrong).status == 401
        assert client.get("/metrics", authorization=wrong).status == 401
    assert client.post(V2, v2_input(), authorization="Bearer a-long-enough-token").status == 200
    client.close()


def test_numbers_that_are_not_finite_leave_as_null() -> None:
    from edge.adapters.json_codec import FastJson, StandardJson

    document = {"data": np.array([1.5, np.nan, np.inf], np.float32), "rows": np.eye(2, dtype=np.int8)}
    for codec in (FastJson(), StandardJson()):
        assert json.loads(codec.dumps(document)) == {"data": [1.5, None, None], "rows": [[1, 0], [0, 1]]}
        for bad in (b"NaN", b"1e999", b"[" * 100_000, b"\xff", b"{"):
            with pytest.raises(ValueError, match=r".+"):
                codec.loads(bad)
