"""Sinks: every answer arrives whole, in one shape; what fails fails whole and is tried again."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from edge import open_bundle
from edge.adapters.sink_mqtt import MqttSink
from edge.adapters.sink_parquet import ParquetSink
from edge.adapters.sink_sqlite import SqliteSink
from edge.adapters.sink_webhook import WebhookSink
from edge.adapters.sinks import CsvSink, LineSink
from edge.online.answer_rows import COLUMNS, Row, make_row
from edge.online.delivery import RowSink, RowsRefusedError
from edge.online.opening import declared_answer
from edge.results import Result, Sample
from tests.support.fakes import prediction
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.webhook import Hook
from wire.errors import SettingsError, UnavailableError
from wire.manifest import Postprocessing
from wire.memory_link import MemoryBroker


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Three real answers: with a declared postprocessing, awkward ids, and one without a truth."""
    top_2 = Postprocessing(kind="top-k", top_k=2)
    path = write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "t", postprocessing=top_2)
    samples = [("a", [1, 2, 3, 4], 3), ('b,"\n;', [9, 0, 0, 0], None), ("c 🐦", [0, 5, 0, 0], 0)]
    with open_bundle(path) as runtime:
        made = []
        for name, values, truth in samples:
            answer = runtime.predict(np.array(values, np.float32))
            result = Result(Sample(name, None, truth), answer, 1_700_000_000.25)
            made.append(make_row(result, declared_answer(runtime, answer)))
        return made


def many(rows: list[Row], count: int) -> list[Row]:
    return [rows[0] | {"id": str(n)} for n in range(count)]


def test_a_row_says_what_was_answered(rows: list[Row]) -> None:
    first = rows[0]
    assert list(first) == list(COLUMNS)
    told = (first["id"], first["release"], first["best"], first["label"], first["confidence"])
    assert told == ("a", "tiny/1", 3, "d", 4.0)
    assert [answer["label"] for answer in first["answer"]] == ["d", "c"]
    assert first["latency_us"] > 0


def test_an_answer_that_is_no_number_names_no_class() -> None:
    row = make_row(Result(Sample("a", None), prediction(confidence=float("nan")), 0.0))
    assert (row["best"], row["label"], row["confidence"]) == (None, None, None)


# --- files: what is written can be read back ----------------------------------------------------


def read_lines(path: Path) -> list[Row]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: row.get(name) for name in COLUMNS} for row in found]


def read_csv(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [_typed({k: v or None for k, v in row.items()}) for row in csv.DictReader(file)]


def read_sqlite(path: Path) -> list[Row]:
    with sqlite3.connect(path) as db:
        found = db.execute("select * from result").fetchall()
    db.close()
    return [_typed(dict(zip(COLUMNS, row, strict=True))) for row in found]


def read_parquet(path: Path) -> list[Row]:
    return [_typed(row) for row in pyarrow.parquet.read_table(path).to_pylist()]


def _typed(row: dict[str, Any]) -> Row:
    typed = {name: None if row[name] is None else kind(row[name]) for name, kind in COLUMNS.items()}
    return typed | {"answer": json.loads(typed["answer"])}


FILES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], list[Row]]]] = {
    "ndjson": (lambda path: LineSink(str(path)), read_lines),
    "csv": (lambda path: CsvSink(str(path)), read_csv),
    "sqlite": (lambda path: SqliteSink(str(path)), read_sqlite),
    "parquet": (lambda path: ParquetSink(str(path), "boot", 60), read_parquet),
}


@pytest.fixture(params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_a_sink_wrote_reads_as_it_was_given_over_two_starts(
    kind: str, rows: list[Row], tmp_path: Path
) -> None:
    make, read = FILES[kind]
    for part in (rows[:1], rows[1:]):
        sink = make(tmp_path / "out")
        sink.open()
        assert sink.write(part) == len(part)
        sink.close()
        assert sink.safe == len(part)
    assert sorted(read(tmp_path / "out"), key=lambda row: row["id"]) == rows


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """Let no file grow past `size_bytes`: a write stops in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_takes_a_batch_wholly_or_not_at_all_and_later_takes_it_once(
    kind: str, rows: list[Row], tmp_path: Path
) -> None:
    make, read = FILES[kind]
    sink: RowSink = make(tmp_path / "out")
    sink.open()  # type: ignore[attr-defined]  # the port begins with an open sink
    taken = 0
    batches = [many(rows, 400)[n : n + 100] for n in range(0, 400, 100)]
    limit_bytes = {"sqlite": 36_000, "parquet": 1000}.get(kind, 4000)
    with full_disk(limit_bytes), pytest.raises(OSError, match=r"out|File too large"):
        for batch in batches:
            taken += sink.write(batch)
        sink.close()
    for batch in batches[taken // 100 :]:
        sink.write(batch)
    sink.close()
    assert [int(row["id"]) for row in read(tmp_path / "out")] == list(range(400))
    assert sink.safe == 400


@pytest.mark.parametrize("kind", ["ndjson", "csv"], indirect=True)
def test_a_half_line_of_a_killed_process_spoils_no_other(kind: str, rows: list[Row], tmp_path: Path) -> None:
    make, _ = FILES[kind]
    for _ in range(2):
        sink = make(tmp_path / "out")
        sink.open()
        sink.write(rows[:1])
        sink.close()
        with (tmp_path / "out").open("a") as file:
            file.write("half a li")
    text = (tmp_path / "out").read_text().splitlines()
    assert [line for line in text if "half" in line] == ["half a li"] * 2


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("kind", ["csv", "sqlite"], indirect=True)
def test_a_file_of_something_else_is_refused_and_left_alone(kind: str, tmp_path: Path, end: str) -> None:
    path = tmp_path / "out"
    path.write_text("name,price\napple,3\n" * 100 + "pear,4" + end)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="out") as refusal:
        FILES[kind][0](path).open()
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("create table result (a, b)")
    db.close()
    before = (tmp_path / "x.db").read_bytes()
    with pytest.raises(SettingsError, match="with other columns: name a new file"):
        SqliteSink(str(tmp_path / "x.db")).open()
    assert (tmp_path / "x.db").read_bytes() == before


@pytest.mark.parametrize("path", ["/proc/nowhere/out", "/"])
def test_a_place_that_cannot_be_written_is_named_at_once(kind: str, path: str) -> None:
    if (kind, path) == ("parquet", "/"):
        return  # a folder is what it wants
    with pytest.raises(SettingsError, match=path):
        FILES[kind][0](Path(path)).open()


def test_another_writer_in_the_database_is_waited_for(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.adapters.sink_sqlite._BUSY_S", 0.05)
    sink = SqliteSink(str(tmp_path / "x.db"))
    sink.open()
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(OSError, match="locked"):
        sink.write(rows)
    other.execute("rollback")
    assert sink.write(rows) == 3
    sink.close()
    other.close()
    assert len(read_sqlite(tmp_path / "x.db")) == 3


def test_parquet_parts_are_closed_by_age_and_by_size(rows: list[Row], tmp_path: Path) -> None:
    now = [0.0]
    sink = ParquetSink(str(tmp_path), "boot", 60, rotate_rows=250, clock=lambda: now[0])
    sink.open()
    sink.write(many(rows, 100))
    sink.tick()
    assert (sink.safe, list(tmp_path.iterdir())) == (0, [])
    now[0] = 61.0
    sink.tick()
    assert (sink.safe, len(list(tmp_path.glob("part-*.parquet")))) == (100, 1)
    for _ in range(4):
        sink.write(many(rows, 100))
    assert sink.safe == 400
    sink.close()
    assert (sink.safe, len(read_parquet(tmp_path))) == (500, 500)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UnavailableError, match="needs pyarrow: pip install"):
        ParquetSink(str(tmp_path), "boot", 60).open()


# --- mqtt ---------------------------------------------------------------------------------------


def test_answers_are_messages_and_a_broker_that_is_away_takes_none(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.adapters.sink_mqtt._WAIT_S", 0.05)
    broker = MemoryBroker()
    link = broker.link()
    sink = MqttSink(link, "out")
    sink.open()
    assert sink.write(rows) == sink.safe == 3
    assert [json.loads(payload)["id"] for _, payload in broker.published] == [row["id"] for row in rows]
    link.drop("connection lost")
    with pytest.raises(UnavailableError, match="connection lost"):
        sink.write(rows)
    link.start()
    assert sink.write(rows) == 3
    sink.close()


def test_an_answer_that_the_broker_refuses_is_told_by_its_place_among_all(rows: list[Row]) -> None:
    broker = MemoryBroker()
    sink = MqttSink(broker.link(), "out")
    sink.open()
    sink.write(rows[:1])
    broker.forbidden.add("out")
    sink.write(rows[1:])
    assert (sink.safe, sink.take_refused()) == (
        3,
        dict.fromkeys((2, 3), "the broker refuses it: Not authorized"),
    )
    assert sink.take_refused() == {}


def test_an_answer_that_is_too_large_is_refused_alone(rows: list[Row]) -> None:
    broker = MemoryBroker()
    sink = MqttSink(broker.link(), "out")
    sink.open()
    large = rows[0] | {"answer": [{"label": "x" * 2_000_000}]}
    assert sink.write([rows[0], large, rows[1]]) == 1
    with pytest.raises(RowsRefusedError, match="too large") as refusal:
        sink.write([large, rows[1]])
    assert refusal.value.count == 1
    assert sink.write([rows[1]]) == 1
    sink.close()


# --- webhook ------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


def open_webhook(hook: Hook, token: str = "") -> WebhookSink:
    sink = WebhookSink(hook.url, "boot", token)
    sink.open()
    return sink


def test_answers_are_posted_in_numbered_batches(hook: Hook, rows: list[Row]) -> None:
    sink = open_webhook(hook, "secret")
    offered = many(rows, 250)
    while offered:
        offered = offered[sink.write(offered) :]
    assert [(post["batch"], len(post["results"])) for post in hook.posts] == [
        ("boot-1", 100), ("boot-2", 100), ("boot-3", 50),
    ]  # fmt: skip
    assert set(hook.tokens) == {"Bearer secret"}
    assert sink.safe == 250


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_that_cannot_now_gets_the_same_batch_again(hook: Hook, rows: list[Row], status: int) -> None:
    sink = open_webhook(hook)
    hook.statuses = [status]
    with pytest.raises(UnavailableError, match=f"answers {status}"):
        sink.write(rows)
    assert sink.write(rows) == 3
    assert [post["batch"] for post in hook.posts] == ["boot-1", "boot-1"]
    assert hook.posts[0] == hook.posts[1]
    assert hook.tokens == [None, None]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302, 307])
def test_a_server_that_refuses_loses_the_batch_and_gets_the_next(
    hook: Hook, rows: list[Row], status: int
) -> None:
    sink = open_webhook(hook)
    hook.statuses = [status]
    with pytest.raises(RowsRefusedError, match=f"answers {status}") as refusal:
        sink.write(rows)
    assert refusal.value.count == 3
    assert sink.write(rows) == 3
    assert [post["batch"] for post in hook.posts] == ["boot-1", "boot-2"]


def test_a_server_that_is_away_is_unavailable(hook: Hook, rows: list[Row]) -> None:
    sink = WebhookSink("http://127.0.0.1:9/", "boot")
    sink.open()
    with pytest.raises(UnavailableError, match="Connection refused"):
        sink.write(rows)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x", "http://", "http:///x", "http://[::1", "http://a b/", "http://a/ü",
     "http://a:port/", "http://a:70000/", "http://a:0/", "http://a/\nb"],
)  # fmt: skip
def test_an_address_that_cannot_be_posted_to_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        WebhookSink(url, "boot").open()
    assert "\n" not in str(refusal.value)


def test_a_token_that_cannot_be_sent_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="EDGEFLOCK_WEBHOOK_TOKEN"):
        WebhookSink("http://a/", "boot", "two\nlines").open()


def test_a_pipe_that_is_full_gets_every_row_once(rows: list[Row]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = LineSink(f"/proc/self/fd/{writer}")
    sink.open()
    os.set_blocking(writer, False)
    got, offered = b"", many(rows, 2000)
    fcntl.fcntl(sink._file._handle, fcntl.F_SETFL, os.O_NONBLOCK)
    while True:
        try:
            sink.write(offered)
            break
        except BlockingIOError:
            got += os.read(reader, 100_000)
    sink.close()
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        got += file.read()
    assert [json.loads(line)["id"] for line in got.splitlines()] == [str(n) for n in range(2000)]


def test_a_model_is_served_from_its_file_where_no_copy_may_be_made(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "t")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with open_bundle(path) as runtime:
            assert runtime.predict(np.array([1, 2, 3, 4], np.float32)).best == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
