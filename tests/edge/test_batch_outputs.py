"""Where answers go: what was committed is there once, what was not is gone, and finishing can be repeated."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from edge.adapters import batch_outputs, batch_sqlite
from edge.adapters.batch_outputs import FileOutput, Output
from edge.adapters.batch_sqlite import SqliteOutput
from edge.batch.answering import Refusal
from edge.batch.answers import Cells, Column
from edge.batch.destination import Destination, parse_destination
from edge.batch.job import Found, Job, Record
from wire.errors import DataError, UnavailableError

COLUMNS = (
    Column("source", "text"),
    Column("row", "whole"),
    Column("confidence", "real"),
    Column("answer", "json"),
    Column('output."y"', "list"),
)
RECORD = Record(Job("a" * 64, "tiny/1", "b" * 64, 1, 10))
KINDS = ["a.csv", "a.ndjson", "a.parquet", "sqlite:a.db", "sqlite:a.db?table=monday"]


def cells(row: int) -> Cells:
    return ['ä, "b"\nc', row, None if row == 3 else row / 8, [{"label": "é", "class": row}], [0.5, None, 1.0]]


def refusal(row: int) -> Refusal:
    return Refusal("a\udcff", row, "it is bad")


def make(to: Destination) -> Output:
    return (SqliteOutput if to.kind == "sqlite" else FileOutput)(to, COLUMNS)


@pytest.fixture(params=KINDS)
def to(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Destination]:
    to = parse_destination(request.param)
    to = replace(to, path=tmp_path / to.path)
    to.folder.mkdir()
    return to


def rows_of(to: Destination) -> list[Cells]:
    """Read the answers back with another library than ours, or none of ours."""
    if to.kind == "sqlite":
        with closing(sqlite3.connect(to.path)) as database:
            rows = [list(row) for row in database.execute(f"SELECT * FROM {to.table}")]
    elif to.kind == "csv":
        _, *texts = csv.reader(to.path.open(newline="", encoding="utf-8"))
        rows = [[t[0], int(t[1]), float(t[2]) if t[2] else None, *t[3:]] for t in texts]
    elif to.kind == "ndjson":
        return [list(json.loads(line).values()) for line in to.path.read_text().splitlines()]
    else:
        rows = [list(row.values()) for row in pq.read_table(to.path).to_pylist()]
    plain = [cell for row in rows for cell in row[3:] if isinstance(cell, str)]
    assert plain, "lists are JSON text in tables"
    return [[json.loads(c) if i > 2 and isinstance(c, str) else c for i, c in enumerate(row)] for row in rows]


def done(record: Record, rows: int, bad: int) -> Record:
    return replace(record, checkpoint=replace(record.checkpoint, rows=rows, bad=bad, done=True))


def test_rows_behind_the_last_commit_are_gone_and_the_others_there_once(to: Destination) -> None:
    output = make(to)
    output.begin(RECORD, anew=True)
    output.write([cells(0), cells(1)], [refusal(9)])
    committed = output.commit(RECORD)
    output.write([cells(7)], [refusal(7)])
    output.close()  # as a kill leaves it

    found = make(to).find()
    assert found == Found(there=True, finished=False, record=committed)
    output = make(to)
    output.begin(committed, anew=False)
    output.write([cells(2), cells(3)], [refusal(4)])
    output.finish(output.commit(done(committed, 4, 2)))
    assert rows_of(to) == [cells(n) for n in range(4)]
    errors = [json.loads(line) for line in to.errors.read_text().splitlines()]
    assert [error["row"] for error in errors] == [9, 4]
    assert errors[0] == {"input": "a\udcff", "row": 9, "reason": "it is bad"}
    assert not to.folder.exists()


def test_an_overwrite_that_fails_at_its_start_leaves_the_finished_job_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_sqlite, "_LOCKED_S", 0.05)
    to = replace(parse_destination("sqlite:a.db"), path=tmp_path / "a.db")
    to.folder.mkdir()
    output = make(to)
    output.begin(RECORD, anew=True)
    output.write([cells(0)], [refusal(9)])
    last = output.commit(done(RECORD, 1, 1))
    output.finish(last)
    errors = to.errors.read_bytes()
    to.folder.mkdir()
    with closing(sqlite3.connect(to.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        output = make(to)
        with pytest.raises(OSError, match="locked"):
            output.begin(RECORD, anew=True)
        output.close()
    assert make(to).find() == Found(there=True, finished=True, record=last)
    make(to).discard()
    assert (to.errors.read_bytes(), len(errors) > 0) == (errors, True)


def test_what_a_kill_left_beside_the_answers_is_swept(tmp_path: Path) -> None:
    to = replace(parse_destination("a.parquet"), path=tmp_path / "a.parquet")
    to.folder.mkdir()
    for name in (".a.parquet.x1.tmp", ".b.parquet.x1.tmp"):
        (tmp_path / name).write_bytes(b"half")
    output = make(to)
    output.begin(RECORD, anew=True)
    output.write([cells(0)], [])
    output.finish(output.commit(done(RECORD, 1, 0)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".b.parquet.x1.tmp", "a.parquet", "a.parquet.job.json",
    ]  # fmt: skip
    (to.folder / "answers").mkdir(parents=True)  # killed between its last two steps
    make(to).discard()
    assert not to.folder.exists()


def test_a_finished_job_is_known_by_its_receipt(to: Destination) -> None:
    output = make(to)
    output.begin(RECORD, anew=True)
    output.write([cells(0)], [])
    last = output.commit(done(RECORD, 1, 0))
    output.finish(last)
    assert make(to).find() == Found(there=True, finished=True, record=last)
    assert not to.errors.exists()


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_finishing_costs_nothing(
    to: Destination, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    output = make(to)
    output.begin(RECORD, anew=True)
    output.write([cells(0), cells(1)], [refusal(9)])
    last = output.commit(done(RECORD, 2, 1))
    steps: list[Path] = []

    def die(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Path) -> None:
            if len(steps) == step:
                raise KeyboardInterrupt
            steps.append(arguments[0])
            real(*arguments)

        monkeypatch.setattr(module, name, call)

    for module, name in ((batch_outputs, "move"), (batch_outputs, "remove"), (batch_sqlite, "remove")):
        die(module, name)
    with suppress(KeyboardInterrupt):
        output.finish(last)
    monkeypatch.undo()

    to.folder.mkdir(exist_ok=True)  # the lock's
    output = make(to)
    found = output.find()
    assert found.record == last
    if not found.finished:
        output.begin(last, anew=False)
        output.finish(last)
    assert rows_of(to) == [cells(0), cells(1)]
    assert len(to.errors.read_text().splitlines()) == 1


def test_beginning_anew_leaves_nothing_of_before(to: Destination) -> None:
    for rows in (3, 1):
        output = make(to)
        to.folder.mkdir(exist_ok=True)
        output.begin(RECORD, anew=True)
        output.write([cells(n) for n in range(rows)], [refusal(1)] * (rows - 1))
        output.finish(output.commit(done(RECORD, rows, rows - 1)))
    assert rows_of(to) == [cells(0)]
    assert not to.errors.exists()


def test_what_the_record_promises_and_is_gone_is_refused(to: Destination) -> None:
    output = make(to)
    output.begin(RECORD, anew=True)
    output.write([cells(0)], [refusal(1)])
    committed = output.commit(RECORD)
    output.close()
    for path in sorted(to.folder.rglob("*"), reverse=True):
        if path.is_file() and path.name != "record.json":
            path.unlink()
    with pytest.raises(DataError, match="--overwrite begins anew"):
        make(to).begin(committed, anew=False)


def test_two_commands_with_one_output_are_told_apart(to: Destination) -> None:
    with make(to).owner(), pytest.raises(UnavailableError, match="another batch works in"), make(to).owner():
        pass


def test_an_existing_database_keeps_its_other_tables_and_a_foreign_file_is_named(tmp_path: Path) -> None:
    to = replace(parse_destination("sqlite:a.db"), path=tmp_path / "a.db")
    with closing(sqlite3.connect(to.path)) as database:
        database.execute("CREATE TABLE mine (x)")
    to.folder.mkdir()
    output = make(to)
    assert output.find() == Found(there=False)
    output.begin(RECORD, anew=True)
    output.finish(output.commit(done(RECORD, 0, 0)))
    with closing(sqlite3.connect(to.path)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"mine", "answers", "edgeflock_jobs"}
    to.path.write_bytes(b"no database, but more than nothing" * 100)
    with pytest.raises(UnavailableError, match=r"a\.db: file is not a database"):
        make(to).find()
