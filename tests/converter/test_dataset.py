"""What a data set must be, how it is divided and bound, and the one line for each thing that it must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.dataset import Dataset, Split, bind, check_memory, looks_unscaled
from converter.parts import by_keys
from converter.source import InputSpec
from converter.splitting import make_dataset
from wire.errors import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 4), np.float32), np.arange(60) % 3


def read(**arrays: Any) -> Dataset:
    return make_dataset(by_keys({key: np.asarray(array) for key, array in arrays.items()}, "d.npz"))


def spec(*shape: int, dtype: str = "float32", name: str = "input") -> InputSpec:
    return InputSpec(name, dtype, shape)


def with_nan() -> Any:
    x = X.copy()
    x[3, 1] = np.nan
    return x


def numbered(**parts: int) -> dict[str, Any]:
    """Return inputs that are their own row numbers, and three classes."""
    x = {f"x_{part}": np.arange(rows).reshape(-1, 1) for part, rows in parts.items()}
    return x | {f"y_{part}": np.arange(rows) % 3 for part, rows in parts.items()}


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"x_train": with_nan()}, "d.npz: x_train holds NaN or infinity in 1 rows, first in row 3"),
        ({"x_train": X, "x_test": np.zeros((0, 4))}, r"d.npz: x_test has shape \[0, 4\]"),
        ({"x_test": X, "y_test": Y[:5]}, "d.npz: x_test has 60 rows, y_test has 5"),
        ({"x_train": X, "x_test": X[:, :3]}, r"a row of x_train is \[4\], of x_test \[3\]"),
        ({"x": np.array([["a"]] * 6)}, "d.npz: x holds <U1, not numbers"),
        ({"x": X, "y": [None] * 60}, "d.npz: y holds object, not numbers"),
        ({"x": X, "y": [np.inf] * 60}, "d.npz: y holds NaN or infinity in 60 rows"),
        ({"x": X, "labels": ["a", "b\nc"]}, "d.npz: a label is empty or has a line break"),
        ({"images": X}, r"d.npz holds no inputs \(it holds images; needed: x_train, y_train, x_test"),
        ({"x_train_left": X}, "d.npz holds no inputs"),
        ({"x": X, "x_test": X}, "give either x and y, or x_train, x_test"),
        ({"x_train": X, "y_test": Y}, "d.npz has y_test, but no inputs for it"),
        ({"x_train": X, "x_train.left": X}, "x_train stands beside inputs with names"),
        ({"x_train.a": X, "x_train.b": X, "x_test.a": X}, "d.npz lacks x_test.b"),
        (
            {"x_train": X * 255, "x_test": X},
            "x_train reaches 254.*, x_test 0.99.*: scale both as in training",
        ),
        ({"x": X, "y": ["a"] * 60, "labels": ["b"]}, "d.npz: y holds 'a', which is no label"),
        (
            {"x_train": X, "y_train": ["a"] * 60, "x_test": X, "y_test": Y},
            "y_train holds text, y_test numbers",
        ),
    ],
)
def test_what_does_not_fit_is_named(arrays: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=f"^{line}|^d.npz.*{line}"):
        read(**arrays)


def test_text_as_truth_becomes_numbers_in_the_order_of_the_labels_or_of_the_alphabet() -> None:
    few, text = X[:4], ["cat", "dog", "cat", "ant"]
    made = read(x=few, y=text)
    assert (made.labels, made.test.truth.tolist()) == (("ant", "cat", "dog"), [1, 2, 1, 0])
    made = read(x=few, y=np.array(text, "S3"), labels=["dog", "cat", "ant"])
    assert made.test.truth.tolist() == [1, 0, 1, 2]


def test_validation_rows_choose_and_test_rows_report() -> None:
    made = read(**numbered(train=50, val=30, test=40))
    assert [len(split) for split in (made.train, made.choose, made.test)] == [50, 30, 40]
    assert made.notes == ()


def test_test_rows_are_halved_where_nothing_else_chooses() -> None:
    made = read(**numbered(train=50, test=43))
    rows = [set(split.inputs[""].ravel()) for split in (made.choose, made.test)]
    assert rows[0] | rows[1] == set(range(43))
    assert not rows[0] & rows[1]
    assert made.notes == ()


def test_every_class_of_two_or_more_is_in_both_halves() -> None:
    y = np.repeat([0, 1, 2, 3], [80, 2, 3, 15])
    for truth in (y, y.reshape(-1, 1), np.eye(4)[y]):
        made = read(x_train=np.ones((50, 1)), x_test=np.ones((100, 1)), y_test=truth)
        for half in (made.choose, made.test):
            assert half.truth is not None
            numbers = half.truth.argmax(1) if half.truth.shape[1:] == (4,) else half.truth
            assert set(numbers.ravel()) == {0, 1, 2, 3}


def test_without_test_rows_a_share_of_every_class_is_held_back() -> None:
    y = np.repeat([0, 1], [90, 10])
    made = read(x=np.arange(100).reshape(-1, 1), y=y)
    assert [len(split) for split in (made.train, made.choose, made.test)] == [70, 15, 15]
    assert [int(split.truth.sum()) for split in (made.train, made.choose, made.test)] == [7, 1, 2]
    assert (
        len({int(v) for split in (made.train, made.choose, made.test) for v in split.inputs[""].ravel()})
        == 100
    )
    assert "30 of 100 are held back" in made.notes[0]
    assert "may have been trained on them" in made.notes[0]


def test_the_same_set_is_divided_in_the_same_way() -> None:
    made, again = (read(x=np.arange(100).reshape(-1, 1)) for _ in range(2))
    assert made.test.inputs[""].ravel().tolist() == again.test.inputs[""].ravel().tolist()
    assert made.test.inputs[""].ravel().tolist() == sorted(made.test.inputs[""].ravel().tolist())


def test_few_rows_are_not_divided() -> None:
    made = read(x=X[:12], y=Y[:12])
    assert made.train is made.choose is made.test
    assert "fewer than 20 rows" in made.notes[0]
    made = read(x_train=X, x_test=X[:12])
    assert made.choose is made.test
    assert len(made.train) == 60


def test_values_that_hardly_repeat_are_divided_by_rows() -> None:
    made = read(x=X, y=RNG.random(60), labels=[])
    assert (len(made.train), len(made.choose), len(made.test)) == (42, 9, 9)


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        ((5, 4), (4,)),
        ((5, 4), (4, 1)),
        ((5,), (1,)),
        ((5, 1), ()),
        ((5, 8, 8), (8, 8, 1)),
        ((5, 8, 8, 1), (8, 8)),
    ],
)
def test_rows_fit_up_to_ones_at_the_end(rows: tuple[int, ...], shape: tuple[int, ...]) -> None:
    bound = bind(Split({"": np.ones(rows)}, None), [spec(*shape)], "d")
    assert (bound.inputs[0].shape, bound.inputs[0].dtype) == ((5, *shape), np.float32)


@pytest.mark.parametrize(
    ("array", "wanted", "line"),
    [
        (
            np.zeros((5, 64)),
            spec(8, 8, 1),
            r"a row is \[64\], the model takes \[8, 8, 1\]: reshape it as in training",
        ),
        (np.zeros((5, 1, 8)), spec(8), r"a row is \[1, 8\], the model takes \[8\]: reshape"),
        (np.zeros((5, 63)), spec(64), r"a row is \[63\], the model takes \[64\]: prepare"),
        (
            np.full((5, 2), 0.5),
            spec(2, dtype="int32"),
            r"has fractions \(first in row 0\), the model takes int32",
        ),
        (
            np.full((5, 2), 300),
            spec(2, dtype="uint8"),
            r"goes from 300 to 300, the model takes uint8 \(0 to 255\)",
        ),
        (np.full((5, 2), 2), spec(2, dtype="bool"), r"goes from 2 to 2, the model takes bool \(0 to 1\)"),
        (np.full((5, 2), 1e300), spec(2), r"reaches 1e\+300, which float32 cannot hold"),
        (np.full((5, 2), np.nan), spec(2), "holds NaN or infinity in 5 rows"),
        (np.zeros((5, 2)), spec(2, dtype="complex64"), "the model takes complex64"),
    ],
)
def test_rows_that_an_input_cannot_take_are_named(array: Any, wanted: InputSpec, line: str) -> None:
    with pytest.raises(DataError, match=f"^d.npz: x_test:? {line}"):
        bind(Split({"": array}, None), [wanted], "d.npz: x_test")


def test_whole_numbers_reach_an_integer_input_unchanged() -> None:
    bound = bind(Split({"": np.array([[1.0, -7.0]])}, None), [spec(2, dtype="int64")], "d")
    assert (bound.inputs[0].dtype, bound.inputs[0].tolist()) == (np.int64, [[1, -7]])


def test_several_inputs_find_each_other_by_name_or_by_position() -> None:
    specs = [spec(2, name="left"), spec(1, name="right")]
    left, right = np.zeros((3, 2)), np.zeros((3, 1))
    for held in ({"right": right, "left": left}, {"0": left, "1": right}):
        bound = bind(Split(held, None), specs, "d")
        assert [array.shape for array in bound.inputs] == [(3, 2), (3, 1)]
    for odd, line in [
        ({"left": left}, "d.right is not there: the model takes left, right"),
        ({"left": left, "right": right, "up": left}, "d.up is no input of the model"),
    ]:
        with pytest.raises(DataError, match=line):
            bind(Split(odd, None), specs, "d")


def test_bytes_are_told_from_what_is_scaled() -> None:
    pixels = RNG.integers(0, 256, (50, 8, 8))
    assert looks_unscaled(pixels)
    assert looks_unscaled(pixels * 0.99)  # resized, so no longer whole
    assert looks_unscaled(pixels % 17)
    for other in (pixels / 255, pixels / 127.5 - 1, pixels * 2, RNG.random((50, 4)) * 100):
        assert not looks_unscaled(other)


def test_more_than_the_memory_takes_is_refused() -> None:
    check_memory(1000, (224, 224, 3), 4, "photos")
    with pytest.raises(DataError, match=r"^photos: 9999 samples of 224x224x3 take 5\.6 GiB, more"):
        check_memory(9999, (224, 224, 3), 4, "photos")
