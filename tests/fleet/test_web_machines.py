"""What programs ask of the page: the REST API with its document, metrics, and exports."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeflock import main
from fleet.adapters.audit_log import AuditLine, AuditLog
from fleet.adapters.database import Database
from fleet.adapters.parquet_table import parquet_bytes
from fleet.web.api import OPERATIONS
from fleet.web.exporting import Table, csv_text
from fleet.web.machines import openapi_text
from fleet.web.metrics import BOUNDS_S, cumulated
from tests.support.examples import MANIFEST
from tests.support.filled_fleet import NAMES, Filling, fill
from tests.support.page_client import Client, page_of
from wire.histogram import BUCKETS, EMPTY, bucket_of, pack

DOCS = Path(__file__).parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder, Filling(devices=12, reports=4))
    return folder


@pytest.fixture(scope="module")
def port(state: Path) -> Iterator[int]:
    with page_of(state) as port:
        yield port


@pytest.fixture
def token(state: Path, capsys: pytest.CaptureFixture[str]) -> str:
    return make_token(state, capsys, "reader", "viewer")


def make_token(state: Path, capsys: pytest.CaptureFixture[str], name: str, role: str) -> str:
    assert main(["fleet", "token", name, "--role", role, "--state", str(state)]) == 0
    return capsys.readouterr().out.strip()


def audited(state: Path) -> AuditLine:
    database = Database(state).open()
    try:
        return AuditLog(database).lines(1)[0]
    finally:
        database.close()


def ask(port: int, path: str, token: str) -> dict:
    reply = Client(port).get(path, Authorization=f"Bearer {token}")
    assert reply.status == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    return json.loads(reply.text)


def test_the_kept_document_is_the_one_that_is_served(port: int) -> None:
    served = Client(port).get("/api/v1/openapi.json").text
    assert served == openapi_text() == (DOCS / "openapi.json").read_text(encoding="utf-8")
    paths = json.loads(served)["paths"]
    assert {(o.path, o.method.lower()) for o in OPERATIONS} == {(p, m) for p in paths for m in paths[p]}


def test_every_operation_and_metric_is_in_the_reference(port: int) -> None:
    text = (DOCS / "rest.md").read_text(encoding="utf-8")
    assert [o.path for o in OPERATIONS if f"`{o.path}`" not in text] == []
    families = [f.name for f in text_string_to_metric_families(Client(port).get("/metrics").text)]
    assert [n for n in families if n not in text and n.replace("edgeflock_device", "…") not in text] == []


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.method == "GET"], ids=lambda o: o.path)
def test_every_operation_answers_what_its_schema_says(port: int, token: str, operation) -> None:
    path = operation.path.format(device="sim-00002", model="digits", version="2")
    assert Client(port).get(path).status == 401
    assert Client(port).get(path, Authorization="Bearer wrong").status == 401
    answer = ask(port, path, token)
    schema = json.loads(openapi_text())["components"]["schemas"][operation.answer.__name__]
    assert set(answer) == set(schema["properties"])


def test_devices_come_by_pages_and_by_condition(port: int, token: str) -> None:
    names, path = [], "/api/v1/devices?limit=5"
    while path:
        page = ask(port, path, token)
        names += [device["name"] for device in page["devices"]]
        path = f"/api/v1/devices?limit=5&after={page['next']}" if page["next"] else ""
    assert names == sorted(names)
    assert len(names) == page["total"] == 12
    healthy = ask(port, "/api/v1/devices?condition=healthy", token)["devices"]
    assert {device["condition"] for device in healthy} == {"healthy"}
    newer = ask(port, "/api/v1/devices?release=digits/2", token)["devices"]
    assert {device["models"][0]["current"] for device in newer} == {"digits/2"}


def test_what_is_asked_wrongly_is_one_line(port: int, token: str) -> None:
    for path, status in (
        ("/api/v1/devices/nobody", 404), ("/api/v1/models/digits/9", 404), ("/api/v1/devices?limit=0", 400),
        ("/api/v1/devices?limit=nan", 400), ("/api/v1/devices/sim-00002/series?since_s=x", 400),
        ("/api/v1/samples?show=me", 400), ("/export/keys.csv", 404), ("/export/devices.exe", 404),
    ):  # fmt: skip
        reply = Client(port).get(path, Authorization=f"Bearer {token}")
        assert (reply.status, list(json.loads(reply.text))) == (status, ["error"]), path


def test_only_an_operators_token_steers_and_no_cookie_does(
    state: Path, port: int, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, person = "/api/v1/rollouts/all/digits/pause", Client(port)
    person.log_in()
    assert person.post(path, {}).status == 401
    assert person.post(path, {}, Authorization=f"Bearer {token}").status == 403
    acting = make_token(state, capsys, "ci", "operator")
    bearing = {"Authorization": f"Bearer {acting}"}
    reply = person.post(path, {}, origin=None, **bearing)
    assert (reply.status, json.loads(reply.text)["state"]) == (200, "pause")
    line = audited(state)
    assert (line.who, line.action, line.outcome) == ("ci", "pause", "done")
    assert person.post("/api/v1/rollouts/all/faces/pause", {}, **bearing).status == 404
    assert audited(state).outcome == "no rollout of faces in all"
    with sqlite3.connect(state / "fleet.db", isolation_level=None) as other:
        other.execute("begin immediate")
        reply = person.post(path, {}, **bearing)
        assert (reply.status, list(json.loads(reply.text))) == (503, ["error"])
        assert str(state) not in reply.text
        other.execute("rollback")
    other.close()
    assert main(["fleet", "token", "ci", "--remove", "--state", str(state)]) == 0
    assert person.post(path, {}, **bearing).status == 401


def test_metrics_are_read_by_prometheus_own_parser(port: int) -> None:
    text = Client(port).get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert sum(sample.value for sample in families["edgeflock_devices"].samples) == 12
    answers = {s.labels["release"]: s.value for s in families["edgeflock_inferences"].samples}
    assert min(answers["digits/1"], answers["digits/2"]) > 0
    counts = [s for s in families["edgeflock_latency_seconds"].samples if s.name.endswith("_count")]
    assert sum(s.value for s in counts) == sum(answers.values()), "a latency for each answer"


def test_buckets_add_up_and_their_sum_is_within_one_per_cent() -> None:
    counts = [0] * BUCKETS
    for value_us in (50, 150, 1500, 20_000_000):
        counts[bucket_of(value_us)] += 1
    buckets, sum_s = cumulated(pack(counts))
    assert [n for _, n in buckets[:2]] == [1.0, 2.0]
    assert buckets[-1] == ("+Inf", 4.0)
    assert sum_s == pytest.approx(20.0017, rel=0.01)
    assert cumulated(EMPTY) == ([*((str(b), 0.0) for b in BOUNDS_S), ("+Inf", 0.0)], 0)


def test_programs_are_told_names_boards_and_sizes(port: int, token: str) -> None:
    model = ask(port, "/api/v1/models/digits/1", token)
    assert [(c["number"], c["name"]) for c in model["classes"]] == list(enumerate(NAMES))
    assert "Raspberry Pi 4 Model B, aarch64" in {board["board"] for board in model["boards"]}
    assert model["tflite_bytes"] == MANIFEST.tflite_bytes
    wrong = ask(port, "/api/v1/samples?show=wrong&release=digits/2", token)["samples"]
    looks_1 = next(s for s in wrong if s["sample_id"] == "looks-1")
    assert (looks_1["predicted_name"], looks_1["truth_name"]) == ("seven", "one")
    text = Client(port).get("/export/samples.csv", Authorization=f"Bearer {token}").text
    exported = {row["sample_id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert exported["looks-1"]["predicted_name"] == "seven"


def test_devices_and_samples_leave_as_tables(port: int, token: str) -> None:
    for what, rows in (("devices", 12), ("samples", 98)):
        text = Client(port).get(f"/export/{what}.csv", Authorization=f"Bearer {token}").text
        found = list(csv.DictReader(io.StringIO(text)))
        assert len(found) == rows
        assert found[0]["device"]
    assert Client(port).get("/export/devices.csv").status == 401


def test_a_table_is_the_same_as_parquet_and_no_cell_is_a_formula() -> None:
    table = Table(["a", "b"], [["=1+1", 1], ["x", None]])
    assert csv_text(table) == "a,b\r\n'=1+1,1\r\nx,\r\n"
    read = pyarrow.parquet.read_table(io.BytesIO(parquet_bytes(table)))
    assert read.to_pydict() == {"a": ["=1+1", "x"], "b": [1, None]}


def test_the_dashboard_asks_for_metrics_that_exist(port: int) -> None:
    names = set(re.findall(r"edgeflock_\w+", Client(port).get("/metrics").text))
    dashboard = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"edgeflock_\w+", target["expr"])
    }
    assert asked - names - {"edgeflock_messages_refused_total"} == set()
