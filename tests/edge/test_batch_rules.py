"""The rules of answering many files: what may be done, which columns are taken, what a row holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.backend import Tensor
from edge.batch.answering import Answered, Refusal
from edge.batch.answers import Form, Wishes
from edge.batch.destination import parse_destination
from edge.batch.entries import Entry, Portion, chunks, portion_for
from edge.batch.intake import Intake, numeric_columns
from edge.batch.job import START, Found, Job, Position, Record, Score, Step, next_step, what_changed
from edge.batch.journal import Journal
from edge.batch.progress import Pace, duration
from edge.batch.truth import class_number, judge_class, real_number, verdict
from wire.errors import DataError, SettingsError
from wire.manifest import Golden, Manifest, Postprocessing, Preprocessing

JOB = Job("a" * 64, "digits/1", "b" * 64, 2, 100)
FOUR = Tensor(0, "x", np.dtype(np.int8), (1, 4), 0.5, -3)
IDS = Tensor(1, "ids", np.dtype(np.int32), (1, 2))
FLOATS = np.dtype(np.float32)
BYTES = np.dtype(np.uint8)


def intake(*tensors: Tensor, columns: tuple[str, ...] = (), truth: str = "", kind: str = "none") -> Intake:
    return Intake(tensors or (FOUR,), Preprocessing(kind), columns, truth)


def manifest(task: str = "classes", post: str = "none") -> Manifest:
    return Manifest(
        "m", "1", "int8", "", 0, (), (), Golden(0, 0.0), task=task, postprocessing=Postprocessing(post)
    )


# what may be done with what is there


@pytest.mark.parametrize(
    ("found", "resume", "overwrite", "step"),
    [
        (Found(there=False), False, False, Step.BEGIN),
        (Found(there=False), True, False, Step.BEGIN),
        (Found(there=True, record=Record(JOB)), True, False, Step.GO_ON),
        (Found(there=True, record=Record(JOB)), False, True, Step.BEGIN),
        (Found(there=True, finished=True, record=Record(JOB)), True, False, Step.DONE),
        (Found(there=True, finished=True), False, True, Step.BEGIN),
    ],
)
def test_what_is_there_decides_where_to_begin(
    found: Found, resume: bool, overwrite: bool, step: Step
) -> None:
    assert next_step(found, JOB, "a.csv", resume=resume, overwrite=overwrite) is step


@pytest.mark.parametrize(
    ("found", "resume", "reason"),
    [
        (Found(there=True, finished=True), False, "a.csv is there already: --overwrite"),
        (Found(there=True, record=Record(JOB)), False, "was begun and not finished: --resume goes on"),
        (Found(there=True, finished=True), True, "was not written by this command"),
        (Found(there=True, record=Record(replace(JOB, model="c"))), True, "begun with another model"),
    ],
)
def test_answers_that_are_there_are_never_touched_unasked(found: Found, resume: bool, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        next_step(found, JOB, "a.csv", resume=resume, overwrite=False)


def test_a_changed_job_says_what_changed() -> None:
    assert what_changed(JOB, replace(JOB)) == ""
    assert "another model (digits/1, SHA-256 aaaaaaaaaaaa…" in what_changed(JOB, replace(JOB, model="c" * 64))
    assert "(2 files of 100 bytes, now 3 files of 120 bytes)" in what_changed(
        JOB, replace(JOB, inputs="c", files=3, size_bytes=120)
    )
    assert "as many, 2, but a name, size or time differs" in what_changed(JOB, replace(JOB, inputs="c"))
    assert "(--truth not given, now y)" in what_changed(JOB, replace(JOB, options={"truth": "y"}))


@pytest.mark.parametrize(
    ("text", "kind", "table", "errors"),
    [
        ("x/a.csv", "csv", "", "x/a.csv.errors.ndjson"),
        ("a.JSONL", "ndjson", "", "a.JSONL.errors.ndjson"),
        ("sqlite:a.db", "sqlite", "answers", "a.db.errors.ndjson"),
        ("sqlite:a.db?table=mon_1", "sqlite", "mon_1", "a.db.mon_1.errors.ndjson"),
    ],
)
def test_one_word_says_where_answers_go(text: str, kind: str, table: str, errors: str) -> None:
    to = parse_destination(text)
    assert (to.kind, to.table, to.errors) == (kind, table, Path(errors))


@pytest.mark.parametrize(
    "text",
    ["answers", "a.xlsx", "sqlite:", "sqlite:a.db?table=", "sqlite:a.db?table=a;b", "sqlite:a.db?tabel=x",
     "sqlite:a.db?table=edgeflock_jobs", "sqlite:a.db?table=sqlite_master"],
)  # fmt: skip
def test_another_word_is_wrong_usage(text: str) -> None:
    with pytest.raises(SettingsError, match="--out"):
        parse_destination(text)


# what the model takes


def test_columns_of_numbers_are_taken_in_order_without_the_truth_and_pandas_row_numbers() -> None:
    names = ["", "a", "b", "name", "c", "d", "y"]
    numeric = [True, True, True, False, True, True, True]
    assert intake(truth="y").choose_columns(names, numeric) == (1, 2, 4, 5)
    assert intake(columns=("d", "c", "b", "a")).choose_columns(names, numeric) == (5, 4, 2, 1)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (intake(), r"5 columns of numbers \(a, b, c, d, y\), the model takes 4 numbers: choose"),
        (intake(columns=("a", "b")), "--columns names 2, the model takes 4"),
        (intake(columns=("a", "b", "c", "z")), "'z' is not there, but a, b, c, d, y"),
        (intake(truth="z"), "'z' is not there"),
    ],
)
def test_columns_that_do_not_fit_are_named(what: Intake, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        what.choose_columns(["a", "b", "c", "d", "y"], [True] * 5)


def test_numbers_are_dealt_to_several_inputs_each_in_its_type() -> None:
    first, ids = intake(FOUR, IDS).from_numbers([0.5, 1, 2, 3, 7, 8])
    assert (first.dtype, first.tolist()) == (FLOATS, [0.5, 1, 2, 3])
    assert (ids.dtype, ids.tolist()) == (np.int32, [7, 8])
    with pytest.raises(DataError, match=r"input 'ids' takes int32, 7\.5 is none"):
        intake(FOUR, IDS).from_numbers([0.5, 1, 2, 3, 7.5, 8])


def test_a_gap_or_a_slip_does_not_make_a_column_text() -> None:
    assert numeric_columns([["1", "", "x"], ["", " ", "2"], ["2e3"]], 3) == [True, False, False]
    assert numeric_columns([["1"], ["two"], ["3"]], 1) == [True]


def test_arrays_are_found_by_the_inputs_names_or_the_usual_ones() -> None:
    assert intake().choose_arrays(["y", "x"]) == ("x",)
    assert intake(truth="t").choose_arrays(["anything", "t"]) == ("anything",)
    assert intake(FOUR, IDS).choose_arrays(["ids", "x"]) == ("x", "ids")
    assert intake(FOUR, IDS, columns=("p", "q")).choose_arrays(["q", "p"]) == ("p", "q")
    with pytest.raises(DataError, match="it holds a, b: --columns NAME says which"):
        intake().choose_arrays(["a", "b"])


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "told"),
    [
        ((9, 4), FLOATS, "none", (9, False, False)),
        ((4,), FLOATS, "none", (1, True, False)),
        ((9, 1, 4), FLOATS, "none", (9, False, False)),
        ((9, 4), FLOATS, "image", (9, False, False)),
        ((9, 20, 30, 3), BYTES, "image", (9, False, True)),
        ((20, 30, 3), BYTES, "image", (1, True, True)),
        ((9, 20, 30), BYTES, "image", (9, False, True)),
        ((16000,), FLOATS, "log-mel", (1, True, True)),
        ((9, 16000), FLOATS, "log-mel", (9, False, True)),
    ],
)
def test_the_shape_of_an_array_tells_rows_from_one_and_pictures_from_inputs(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], kind: str, told: tuple[int, bool, bool]
) -> None:
    layout = intake(kind=kind).layout("x", shape, dtype)
    assert (layout.rows, layout.single, layout.raw) == told


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"'x' is \[9, 5\] of float32, the model takes rows of \[4\]"):
        intake().layout("x", (9, 5), FLOATS)


# what a row holds


def test_columns_depend_on_the_model_and_on_nothing_else() -> None:
    def names(task: str, post: str, shape: tuple[int, ...], wishes: Wishes) -> str:
        output = Tensor(0, "y", FLOATS, shape)
        columns = Form(manifest(task, post), (), (output,), wishes).columns
        return " ".join(column.name for column in columns).removeprefix("source row ")

    none = Wishes()
    assert names("classes", "none", (1, 4), none) == "best label confidence"
    assert names("classes", "top-k", (1, 4), none) == "best label confidence answer"
    assert names("classes", "boxes", (1, 9, 4), none) == "answer"
    assert names("values", "none", (1, 1), Wishes(truth=True)) == "value truth"
    assert names("values", "none", (1, 2), none) == "value_0 value_1"
    assert names("values", "none", (1, 100), Wishes(outputs=True)) == "values output.y"


def test_a_truth_is_a_label_a_number_one_hot_or_nothing() -> None:
    labels = ("3", "cat", "dog")
    assert [class_number(raw, labels, 3) for raw in ("cat", "3", 2, 2.0, np.int64(1), "1")] == [
        1,
        0,
        2,
        2,
        1,
        1,
    ]
    assert class_number(np.array([0, 0, 1]), (), 3) == 2
    assert [class_number(raw, labels, 3) for raw in (None, " ", float("nan"))] == [None] * 3
    assert real_number("1.5") == 1.5
    for raw in ("mouse", 5, -1, 0.5, np.array([1, 2])):
        with pytest.raises(DataError, match="the truth"):
            class_number(raw, labels, 3)
    with pytest.raises(DataError, match="no number"):
        real_number("much")


def test_a_number_means_the_same_in_every_kind_of_file() -> None:
    labels = ("7", "8", "1")
    for raw in ("7", 7, 7.0, np.int64(7), np.float32(7), "7.0"):
        assert class_number(raw, labels, 3) == 0
    assert class_number(1, labels, 3) == class_number("1", labels, 3) == 2
    assert class_number(0, labels, 3) == 0  # no label: a class number


def test_numbers_that_the_model_cannot_take_are_refused() -> None:
    whole = Tensor(0, "n", np.dtype(np.int32), (1, 4))
    for what in (intake(), intake(replace(FOUR, dtype=np.dtype(np.int8), scale=0.5))):
        with pytest.raises(DataError, match=r"takes float32, 1e\+39 is too large"):
            what.from_numbers([1.0, 1e39, 0.0, 0.0])
    with pytest.raises(DataError, match="takes int32"):
        intake(whole).from_numbers([1.0, 1e39, 0.0, 0.0])


def test_a_verdict_counts_only_what_was_judged() -> None:
    score = judge_class(1, 1) + judge_class(0, 1) + judge_class(None, 1) + judge_class(0, None)
    assert verdict(score, values=False) == "accuracy 33.33% of 3 judged"
    assert verdict(Score(2, off=3.0, off_squared=5.0), values=True).startswith(
        "mean absolute error 1.5, root mean"
    )
    assert verdict(Score(), values=False) == ""
    assert verdict(score + Score(odd=2), values=False).endswith(
        "of 3 judged, 2 truths say nothing that the model knows"
    )


# how far


def entry(row: int, weight: int = 0) -> Entry:
    return Entry("a", row, Position(0, row + 1), row, weight)


def test_chunks_keep_the_order_and_either_limit() -> None:
    def sizes(weight: int, portion: Portion) -> list[int]:
        found = list(chunks([entry(n, weight) for n in range(7)], portion))
        assert [e.row for chunk in found for e in chunk] == list(range(7))
        return [len(chunk) for chunk in found]

    assert sizes(0, Portion(3)) == [3, 3, 1]
    assert sizes(600_000, Portion(100)) == [2, 2, 2, 1]
    assert sizes(600_000, Portion(4, exact=True)) == [4, 3]
    assert [portion_for(*facts).rows for facts in ((400, 1e-6), (400, 0.03), (10**7, 1e-6))] == [256, 1, 1]


class Store:
    """Keeps rows in lists; what is committed is what a power cut would leave."""

    def __init__(self) -> None:
        self.rows: list[list[object]] = []
        self.commits: list[tuple[int, Record]] = []

    def write(self, rows, errors) -> None:  # type: ignore[no-untyped-def]
        self.rows += rows

    def commit(self, record: Record) -> Record:
        self.commits.append((len(self.rows), record))
        return record


def test_a_checkpoint_is_due_after_some_seconds_or_many_values_and_agrees_with_the_rows() -> None:
    now, store = [0.0], Store()
    journal = Journal(store, Record(JOB), 5.0, lambda: now[0])
    for number in range(12):
        now[0] += 1
        errors = [Refusal("a", 2, "bad")] if number == 2 else []
        journal.add(Answered(Position(0, number + 1), number, [["a", number]], errors, Score(1, 1)))
    journal.add(Answered(Position(1, 0), 100, [["a", 12, [0.0] * 300_000]]))
    assert [rows for rows, _ in store.commits] == [5, 10, 13]
    checkpoint = store.commits[-1][1].checkpoint
    assert (checkpoint.position, checkpoint.rows, checkpoint.bad) == (Position(1, 0), 13, 1)
    assert (checkpoint.score, START) == (Score(12, 12), (0, 0))


def test_the_time_left_is_told_from_bytes() -> None:
    pace = Pace(total_bytes=1000, start_s=100.0, rows=50, read_bytes=500)
    line = pace.line(110.0, rows=1050, read_bytes=600, bad=2, bar=True)
    assert line == "[" + "#" * 14 + "." * 10 + "]  60%  1,050 rows  100 rows/s  0:40 left  2 bad"
    assert "left" not in pace.line(101.0, 60, 501, 0, bar=False)
    assert [duration(s) for s in (7.4, 192, 7500)] == ["0:07", "3:12", "2:05:00"]
