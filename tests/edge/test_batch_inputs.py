"""What is read from files: the same rows from every kind, from any row on; damage costs only itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge.adapters import batch_arrays
from edge.adapters.batch_inputs import list_sources, read_entries, survey
from edge.backend import Tensor
from edge.batch.entries import Entry, Raw
from edge.batch.intake import Intake
from edge.batch.job import START, Position
from wire.errors import SettingsError
from wire.manifest import Preprocessing

FOUR = Tensor(0, "x", np.dtype(np.float32), (1, 4))
TWO = Tensor(1, "z", np.dtype(np.float32), (1, 2))
X = np.arange(40, dtype=np.float32).reshape(10, 4) / 8
Y = np.arange(10) % 4

#: Kind of file: how to write X (and Y as `y`, where it has names).
Writer = Callable[[Path], None]


def write_csv(path: Path, delimiter: str = ",", end: str = "\n") -> None:
    lines = [["a", "b", "name", "c", "d", "y"]]
    lines += [[*map(str, x[:2]), "some", *map(str, x[2:]), str(y)] for x, y in zip(X, Y, strict=True)]
    path.write_bytes(end.join(delimiter.join(line) for line in lines).encode("utf-8-sig"))


def write_parquet(path: Path) -> None:
    columns = {name: X[:, i] for i, name in enumerate("abcd")}
    pq.write_table(pa.table({**columns, "name": ["some"] * 10, "y": Y}), path, row_group_size=3)


WRITERS: dict[str, Writer] = {
    "comma.csv": write_csv,
    "semicolon.csv": lambda path: write_csv(path, ";", "\r\n"),
    "tab.tsv": lambda path: write_csv(path, "\t", "\n\n"),
    "a.parquet": write_parquet,
    "stored.npz": lambda path: np.savez(path, x=X, y=Y),
    "packed.npz": lambda path: np.savez_compressed(path, x=X, y=Y),
    "fortran.npz": lambda path: np.savez(path, x=np.asfortranarray(X), y=Y),
}


def read(path: Path, *, start: Position = START, truth: str = "", tensors: tuple[Tensor, ...] = (FOUR,),
         columns: tuple[str, ...] = (), kind: str = "none") -> list[Entry]:  # fmt: skip
    intake = Intake(tensors, Preprocessing(kind, rate_hz=8000), columns, truth)
    return list(read_entries(list_sources([path]), intake, start))


def problems(entries: list[Entry]) -> list[tuple[int | None, str]]:
    return [(entry.row, entry.problem) for entry in entries if entry.problem]


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_rows_and_truth(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    entries = read(tmp_path / name, truth="y")
    assert problems(entries) == []
    assert np.array_equal(np.stack([entry.inputs for entry in entries]), X)
    assert {entry.inputs.dtype for entry in entries} == {np.dtype(np.float32)}
    assert [int(entry.truth) for entry in entries] == Y.tolist()
    assert [entry.row for entry in entries] == list(range(10))
    assert entries[-1].read_bytes == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("name", WRITERS)
def test_reading_goes_on_at_any_row(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_arrays, "_PIECE_ROWS", 3)
    WRITERS[name](tmp_path / name)
    for first in range(11):
        entries = read(tmp_path / name, start=Position(0, first), truth="y")
        assert [entry.row for entry in entries] == list(range(first, 10))
        assert all(np.array_equal(e.inputs, X[e.row]) for e in entries)
        assert all(e.after == (0, e.row + 1) for e in entries if e.row is not None)


def test_several_inputs_come_from_arrays_by_name_and_from_columns_in_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=X[:, :2], x=X)
    np.savetxt(tmp_path / "a.csv", np.hstack([X, X[:, :2]]), delimiter=",", fmt="%g")
    for name in ("a.npz", "a.csv"):
        entries = read(tmp_path / name, tensors=(FOUR, TWO))
        assert [len(entries), *(e.problem for e in entries if e.problem)] == [10]
        assert all(np.array_equal(e.inputs[0], x) for e, x in zip(entries, X, strict=True))
        assert all(np.array_equal(e.inputs[1], x[:2]) for e, x in zip(entries, X, strict=True))


def test_an_npy_file_holds_rows_or_one(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "single.npy", X[3])
    assert len(read(tmp_path / "rows.npy")) == 10
    (single,) = read(tmp_path / "single.npy")
    assert (single.row, single.inputs.tolist()) == (0, X[3].tolist())


def test_arrays_of_bytes_are_pictures_for_a_model_that_prepares_images(tmp_path: Path) -> None:
    pictures = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
    np.save(tmp_path / "a.npy", pictures)
    entries = read(tmp_path / "a.npy", kind="image")
    assert all(isinstance(entry.inputs, Raw) for entry in entries)
    assert np.array_equal([entry.inputs.read() for entry in entries], pictures)


BAD_ROWS = """a,b,c,d
1,2,3,4
1,2,,4
1,2,x,4
1,2,3
1,nan,3,4
1,2,3,1e999
5,6,7,8
5,6,7,8
5,6,7,8
"""


def test_a_bad_row_of_a_table_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(BAD_ROWS)
    entries = read(tmp_path / "a.csv")
    assert [entry.row for entry in entries if not entry.problem] == [0, 6, 7, 8]
    assert problems(entries) == [
        (1, "column 'c' is missing"),
        (2, "column 'c' holds 'x', which is no number"),
        (3, "3 fields, the header has 4"),
        (4, "column 'b' is nan"),
        (5, "column 'd' is 1e999"),
    ]
    table = pa.table({"a": [1.0, None, 3.0], "b": [1, 2, 3], "c": [1.0, 2.0, float("inf")], "d": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = problems(read(tmp_path / "a.parquet"))
    assert found == [(1, "column 'a' is missing"), (2, "column 'c' is infinite")]


def test_a_byte_that_is_no_text_costs_the_field_it_is_in(tmp_path: Path) -> None:
    lines = [b"a,b,c,d,name"] + [b"%d,2,3,4,some" % n for n in range(1000)]
    lines[601] = b"600,2,3,4,caf\xe9"
    lines[701] = b"700,2\xe9,3,4,some"
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    entries = read(tmp_path / "a.csv")
    assert [entry.row for entry in entries] == list(range(1000))
    assert problems(entries) == [(700, "column 'b' holds '2\\udce9', which is no number")]


@pytest.mark.parametrize(
    ("broken", "rows", "bad"),
    [
        ('2,2,3,4,"open', 6, [2]),  # up to the end of the file
        ('2,2,"3,4,x', 6, [2]),
        ('2,2,3,4,"two\nlines, one row"', 6, []),
        ('2,2,3,4,"three\nlines\nand, one row"', 6, []),
        ('2,2,3,4,"open\n3,2,3,4,"closed"', 7, [2]),  # as many fields, of two rows
        ('"2,2,3,4,x\n"3,2,3,4,x', 6, [2]),  # may be a text of two lines
    ],
)
def test_a_quote_that_is_not_closed_costs_its_line(
    tmp_path: Path, broken: str, rows: int, bad: list[int]
) -> None:
    good = [f"{n},2,3,4,x" for n in range(5)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,c,d,name", *good[:2], broken, *good[2:]]))
    entries = read(tmp_path / "a.csv")
    assert [entry.row for entry in entries] == list(range(rows))
    assert [row for row, _ in problems(entries)] == bad
    for first in range(rows):
        again = read(tmp_path / "a.csv", start=Position(0, first))
        assert [(e.row, e.problem) for e in again] == [(e.row, e.problem) for e in entries[first:]]


def test_a_damaged_row_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    x = np.random.default_rng(1).normal(size=(4000, 4))
    table = pa.table({name: x[:, i] for i, name in enumerate("abcd")})
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(1).column(2).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 400] = b"\xff" * 400
    path.write_bytes(data)
    entries = read(path)
    assert [entry.row for entry in entries] == list(range(4000))
    bad = problems(entries)
    assert [row for row, _ in bad] == list(range(1000, 2000))
    assert bad[0][1].startswith("row group 1 cannot be read: ")
    assert [e.row for e in read(path, start=Position(0, 1500)) if e.problem] == list(range(1500, 2000))


def test_an_array_of_numbers_too_large_for_the_model_is_refused_row_by_row(tmp_path: Path) -> None:
    large = X.astype(np.float64)
    large[3, 1] = 1e39
    np.savez(tmp_path / "a.npz", x=large)
    assert [row for row, _ in problems(read(tmp_path / "a.npz"))] == [3]


def _cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200:220] = b"\xff" * 20
    path.write_bytes(data)


def _claim(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"(10, 4), ", b"(99, 9), "))


@pytest.mark.parametrize("name", [*WRITERS, "a.npy", "a.png", "a.wav"])
@pytest.mark.parametrize("damage", [lambda p: _cut(p, 0), lambda p: _cut(p, 150), _flip, _claim])
def test_a_damaged_file_is_a_problem_and_the_next_file_follows(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / name
    WRITERS.get(name, lambda p: np.save(p.open("wb"), X))(path)
    damage(path)
    np.save(tmp_path / "in" / "z.npy", X)
    entries = list(read_entries(list_sources([tmp_path / "in"]), Intake((FOUR,), Preprocessing())))
    assert sum(entry.source.endswith("z.npy") and not entry.problem for entry in entries) == 10
    assert all("\n" not in entry.problem for entry in entries)
    if name.endswith(("png", "wav")):  # decoded by who answers
        return
    if damage is not _claim or name == "a.npy":
        first = [entry for entry in entries if not entry.source.endswith("z.npy")]
        assert any(entry.problem for entry in first), first


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"a,b,c,d\n", "no rows below its header"),
        (b"a,b\n1,2\n", "2 columns of numbers (a, b), the model takes 4"),
        ("ä,b,c,d\n1,2,3,4\n".encode("latin-1"), "the header is not written in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_one_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    ((row, problem),) = problems(read(tmp_path / "a.csv"))
    assert row is None
    assert reason in problem


def test_folders_are_read_in_the_same_order_without_what_is_hidden_foreign_or_an_answer(
    tmp_path: Path,
) -> None:
    for name in ("b/2.npy", "b/1.npy", "a.npy", "c.npy", ".hidden.npy", ".git/x.npy", "notes.txt", "out.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "round")
    found = list(list_sources([tmp_path], leave_out=[tmp_path / "out.csv"]))
    assert [str(s.path.relative_to(tmp_path)) for s in found] == ["a.npy", "c.npy", "b/1.npy", "b/2.npy"]
    seen = survey(found)
    assert (seen.files, seen.size_bytes) == (4, 4)
    (tmp_path / "b/1.npy").write_bytes(b"y")
    os.utime(tmp_path / "b/1.npy", ns=(1, 1))
    assert survey(list_sources([tmp_path], leave_out=[tmp_path / "out.csv"])).digest != seen.digest


def test_an_input_that_is_where_the_answers_go_is_wrong_usage(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "other.npy").symlink_to(tmp_path / "a.npy")
    for given in ("a.npy", "other.npy", "."):
        with pytest.raises(SettingsError, match="is where the answers go"):
            list(list_sources([tmp_path / given], leave_out=[tmp_path / "a.npy", tmp_path]))


@contextmanager
def as_somebody() -> Iterator[Path]:
    """Give a folder, and be no user who may read what he is not allowed to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)


def test_a_folder_below_that_cannot_be_read_costs_itself_only() -> None:
    with as_somebody() as folder:
        for name in ("a", "b", "c"):
            (folder / name).mkdir()
            np.save(folder / name / "x.npy", X)
        (folder / "b").chmod(0)
        try:
            entries = list(read_entries(list_sources([folder]), Intake((FOUR,), Preprocessing())))
            assert problems(entries) == [(None, "cannot be read: Permission denied")]
            assert len(entries) == 21
            with pytest.raises(SettingsError, match="b: Permission denied"):
                list(list_sources([folder / "b"]))
            (folder / "b").chmod(0o444)  # its names can be read, its files cannot
            entries = list(read_entries(list_sources([folder]), Intake((FOUR,), Preprocessing())))
            assert (len(entries), len(problems(entries))) == (21, 1)
        finally:
            (folder / "b").chmod(0o755)


def test_a_named_input_that_cannot_be_one_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for path, reason in ((tmp_path / "no.csv", "is not there"), (tmp_path / "a.txt", "an input is one of")):
        with pytest.raises(SettingsError, match=reason):
            list(list_sources([path]))


def test_a_name_that_is_not_utf_8_can_still_be_written_down(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff.npy")
    np.save(path, X)
    (entry, *_) = read(path)
    assert entry.source.endswith("a\\xff.npy")
