"""Data sets from files and folders: what each reader makes of them, and what it refuses."""

from __future__ import annotations

import gzip
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from converter.adapters.datasets import read_dataset
from converter.dataset import DataOptions, Dataset, Split, bind
from converter.source import InputSpec
from wire.errors import DataError
from wire.manifest import Preprocessing

X, Y = np.arange(240, dtype=np.float32).reshape(60, 2, 2), np.arange(60) % 3


def shape(split: Split) -> tuple[int, ...]:
    return split.inputs[""].shape


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError, match=f"^{path}") as caught:
        read_dataset(path, DataOptions(**options))
    return str(caught.value).removeprefix(str(path))


def table(folder: Path, text: str | bytes, **options: Any) -> Dataset:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_dataset(path, DataOptions(**options))


def table_refusal(folder: Path, text: str | bytes, **options: Any) -> str:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return refusal(path, **options)


def rows(split: Split) -> list[list[float]]:
    found: list[list[float]] = split.inputs[""].tolist()
    return found


def truth(split: Split) -> list[float]:
    assert split.truth is not None
    found: list[float] = split.truth.tolist()
    return found


# npz and npy


def test_an_npz_file_is_read_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, labels=["a", "b", "c"], made_by="me")
    made = read_dataset(path, DataOptions())
    assert (made.name, made.labels, shape(made.train)) == (str(path), ("a", "b", "c"), (60, 2, 2))
    assert made.notes[0] == "not used: made_by"
    assert len(made.sha256) == 64


def test_several_inputs_are_read_by_their_names(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz", **{"x_train.left": X, "x_train.right": Y, "x_test.left": X, "x_test.right": Y}
    )
    made = read_dataset(tmp_path / "d.npz", DataOptions())
    assert sorted(made.test.inputs) == ["left", "right"]
    assert made.test.truth is None


def test_an_npy_file_is_inputs_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    made = read_dataset(tmp_path / "x.npy", DataOptions())
    assert (shape(made.train), made.train.truth) == ((42, 2, 2), None)


def test_a_file_that_is_no_data_set_is_named(tmp_path: Path) -> None:
    text, odd, pickled = tmp_path / "text.npz", tmp_path / "odd.bin", tmp_path / "pickled.npz"
    text.write_text("hello")
    odd.write_text("hello")
    np.savez(pickled, x=np.array([{}], object))
    assert refusal(tmp_path / "none") == " is not there"
    assert refusal(text).startswith(" is not an npz file")
    assert refusal(odd).startswith(" is no data set: give an .npz, .npy, .csv or .parquet file, or a folder")
    assert refusal(pickled).startswith(" cannot be read: Object arrays")


# tables


def test_the_last_column_is_the_target_unless_one_is_called_so(tmp_path: Path) -> None:
    houses = "area,price\n" + "".join(f"{area},{3 * area}\n" for area in range(100))
    made = table(tmp_path, houses)
    assert made.notes[0] == "the last column, price, is taken as the target (--target names another)"
    bound = bind(made.test, [InputSpec("input", "float32", (1,))], "houses.csv: x_test")
    assert (bound.inputs[0] * 3 == np.reshape(bound.truth, (-1, 1))).all()
    made = table(tmp_path, "Label,area\n1,50\n0,60\n")
    assert (rows(made.train), truth(made.train)) == ([[50], [60]], [1, 0])


def test_the_target_may_be_chosen_or_none(tmp_path: Path) -> None:
    text = "a,y,b\n1,2,3\n4,5,6\n"
    assert truth(table(tmp_path, text, target="a").train) == [1, 4]
    made = table(tmp_path, text, target="")
    assert (rows(made.train), made.train.truth) == ([[1, 2, 3], [4, 5, 6]], None)


def test_text_as_target_becomes_class_numbers(tmp_path: Path) -> None:
    made = table(tmp_path, "a,kind\n1,pear\n2,apple\n")
    assert (made.labels, truth(made.train)) == (("apple", "pear"), [1, 0])
    assert "text as truth becomes class numbers: 0 = apple, 1 = pear" in made.notes


def test_a_split_column_divides_and_a_row_number_is_left_out(tmp_path: Path) -> None:
    made = table(tmp_path, ",a,split,y\n0,5,train,1\n1,6,test,0\n2,7,Validation,1\n")
    assert [rows(split) for split in (made.train, made.choose, made.test)] == [[[5]], [[7]], [[6]]]
    assert "the column '' counts the rows and is left out" in made.notes
    assert made.columns == ("a",)


def test_semicolons_byte_marks_packing_and_late_decimals_are_read(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "\ufeffa;y\r\n1.5;0\r\n").train) == [[1.5]]
    late = "a,y\n" + "1,0\n" * 300_000 + "2.5,0\n"
    (tmp_path / "late.csv.gz").write_bytes(gzip.compress(late.encode(), 1))
    made = read_dataset(tmp_path / "late.csv.gz", DataOptions())
    assert max(split.inputs[""].max() for split in (made.train, made.choose, made.test)) == 2.5


def test_parquet_is_read_with_its_categories_and_decimals(tmp_path: Path) -> None:
    kinds = pa.array(["u", "v", "u"]).dictionary_encode()
    content = pa.table({"a": pa.array([1, 2, 3], pa.int8()), "b": [0.5, 1.5, 2.5], "class": kinds})
    pq.write_table(content, tmp_path / "d.parquet")
    made = read_dataset(tmp_path / "d.parquet", DataOptions())
    assert (rows(made.train), truth(made.train), made.labels) == (
        [[1, 0.5], [2, 1.5], [3, 2.5]],
        [0, 1, 0],
        ("u", "v"),
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b\n1,2\n,3\n,4\n", ": the column a has no value in 2 rows, first in row 2: fill it"),
        ("a,b\n1,NaN\n", ": the target column b has no value in 1 row, first in row 1"),
        ("a,kind\n1,pear\n1,\n", ": the target column kind has no value in 1 row, first in row 2"),
        ("day,b\n2020-01-01,3\n", ": the column day holds date32[day], not numbers (first: 2020-01-01)"),
        ("town,b\nRome,3\n", ": the column town holds text, not numbers (first: Rome): encode it"),
        ("town,b\nRöm,3\n".encode("latin-1"), ": the column town holds text that is not UTF-8"),
        ("höhe,b\n1,3\n".encode("latin-1"), " is not written in UTF-8"),
        ("a,inf\n1,inf\n", ": y holds NaN or infinity in 1 rows"),
        ("1.5,2\n3,4\n", " has no header: line 1 must name the columns (it holds 1.5, 2)"),
        ("a,b\n1,2,3\n", " cannot be read: CSV parse error: Expected 2 columns, got 3"),
        ("a,a\n1,2\n", " has two columns named 'a'"),
        ("a,b\n", " has no rows below its header"),
        ("a\n1\n", " has no column besides a"),
        ("", " cannot be read: Empty CSV file"),
        ("y,label,a\n1,2,3\n", ": y and label could each be the target: name it with --target"),
        ("a,split,y\n1,tset,3\n", ": the column split holds 'tset': needed are train, val and test"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_its_column(
    tmp_path: Path, text: str | bytes, line: str
) -> None:
    assert table_refusal(tmp_path, text).startswith(line)


def test_a_target_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert table_refusal(tmp_path, "a,b\n1,2\n", target="c") == " has no column 'c' (it has a, b)"


# images


def draw(path: Path, value: int = 51, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """Write an image of one value; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of three images, 6 wide and 4 high."""
    folder = tmp_path / "photos"
    for name, value in (("dog", 255), ("cat", 51)):
        for number in range(3):
            draw(folder / name / f"{number}.png", value)
    (folder / "dog" / "notes.txt").write_text("not an image")
    return folder


def test_class_folders_are_numbered_by_the_alphabet(photos: Path) -> None:
    made = read_dataset(photos, DataOptions())
    assert (made.labels, truth(made.test)) == (("cat", "dog"), [0, 0, 0, 1, 1, 1])
    assert shape(made.test) == (6, 4, 6, 3)
    assert made.test.inputs[""][[0, 5], 0, 0, 0].tolist() == pytest.approx([0.2, 1.0], abs=1e-7)
    assert made.notes[0].startswith("6 images of 4x6x3; pixels are divided by 255")
    assert made.preprocessing == Preprocessing("image", 3, 1 / 255, 0.0)


def test_pixels_may_stay_raw_or_become_signed(photos: Path) -> None:
    for scale, values in (("raw", [51, 255]), ("signed", [np.float32(51 / 127.5) - 1, 1])):
        made = read_dataset(photos, DataOptions(scale=scale))
        assert made.test.inputs[""][[0, 5], 0, 0, 0].tolist() == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize(
    ("hint", "options", "expected", "kind"),
    [
        ((8, 10, 3), {}, (8, 10, 3), "image"),
        ((8, 10), {}, (8, 10, 1), "image"),
        ((3, 8, 10), {}, (3, 8, 10), "image"),
        ((72,), {}, (72,), "image"),
        (None, {"image_size": (2, 3), "channels": 1}, (2, 3, 1), "image"),
        ((8, 10, 3), {"image_size": (2, 3)}, (2, 3, 3), "image"),
    ],
)
def test_the_model_or_the_options_settle_the_form(
    photos: Path, hint: Any, options: Any, expected: tuple[int, ...], kind: str
) -> None:
    made = read_dataset(photos, DataOptions(shape_hint=hint, **options))
    assert shape(made.test)[1:] == expected
    assert made.preprocessing.kind == kind


def test_declared_pixels_are_prepared_as_a_device_prepares_them(photos: Path) -> None:
    draw(photos / "dog" / "0.png", 0)
    Image.new("RGB", (6, 4), (100, 50, 0)).save(photos / "cat" / "0.png")
    how = Preprocessing("image", scale=0.5, offset=1, order="bgr", mean=(0, 1, 2), std=(1, 2, 5))
    made = read_dataset(photos, DataOptions(shape_hint=(3, 4, 6), preprocessing=how))
    assert made.preprocessing == replace(how, channels=3, channels_first=True)
    (first,) = (row for row in made.test.inputs[""] if row[0, 0, 0] == 1 and row[1, 0, 0] == 12.5)
    assert first[:, 0, 0].tolist() == pytest.approx([1, (26 - 1) / 2, (51 - 2) / 5])


def test_folders_of_parts_hold_class_folders_each(tmp_path: Path) -> None:
    for part, count in (("train", 2), ("valid", 1), ("test", 3)):
        for kind, number in itertools.product("ab", range(count)):
            draw(tmp_path / part / kind / f"{number}.png", mode="L")
    made = read_dataset(tmp_path, DataOptions())
    assert [shape(split) for split in (made.train, made.choose, made.test)] == [
        (n, 4, 6, 1) for n in (4, 2, 6)
    ]
    draw(tmp_path / "test" / "c" / "0.png")
    assert refusal(tmp_path) == ": test/ has the class c, which train/ lacks"
    draw(tmp_path / "extra" / "0.png")
    assert refusal(tmp_path).startswith(" has extra/ beside test/")


def test_a_flat_folder_of_images_or_arrays_has_no_truth(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    made = read_dataset(tmp_path / "images", DataOptions())
    assert (made.test.truth, made.labels) == (None, ())
    (tmp_path / "arrays").mkdir()
    for number in range(3):
        np.save(tmp_path / "arrays" / f"{number}.npy", np.full((5, 2), number))
    made = read_dataset(tmp_path / "arrays", DataOptions())
    assert made.test.inputs[""][:, 0, 0].tolist() == [0, 1, 2]
    draw(tmp_path / "arrays" / "a.png")
    assert refusal(tmp_path / "arrays") == " holds images and npy files (0.npy): give one kind"


def test_bad_images_are_counted_and_named(photos: Path) -> None:
    whole = (photos / "dog" / "0.png").read_bytes()
    draw(photos / "cat" / "big.png", size=(300, 300))
    (photos / "cat" / "big.png").write_bytes((photos / "cat" / "big.png").read_bytes()[:-60])
    assert refusal(photos, image_size=(4, 6)) == ": cat/big.png is no image that can be read"
    (photos / "cat" / "big.png").write_bytes(whole)
    for name in ("1.png", "2.png"):
        (photos / "dog" / name).write_text("nothing")
    assert refusal(photos) == ": dog/1.png is no image that can be read (2 such files: dog/1.png, dog/2.png)"


def test_images_that_are_not_alike_need_a_size(photos: Path) -> None:
    draw(photos / "dog" / "9.png", size=(5, 5))
    assert refusal(photos) == ": dog/9.png is 5x5, cat/0.png 4x6: give --image-size HxW"
    made = read_dataset(photos, DataOptions(image_size=(4, 6)))
    assert made.notes[1] == "1 of 7 images are resized (bilinear)"


def test_what_no_class_folder_is_is_named(photos: Path, tmp_path: Path) -> None:
    assert refusal(photos, shape_hint=(2, 3, 4, 5)) == ": the model takes [2, 3, 4, 5], which no image is"
    draw(photos / "cat" / "deep.png", mode="I;16")
    assert "has more than 8 bits a pixel" in refusal(photos)
    draw(photos / "stray.png")
    assert refusal(photos).startswith(" holds both stray.png and folders")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    assert refusal(tmp_path / "empty") == ": the class folder cat holds no images"
    assert refusal(tmp_path / "empty" / "cat").startswith(" holds no images (.png")
