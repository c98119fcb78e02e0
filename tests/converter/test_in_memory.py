"""Data sets that a program holds: the forms they may come in, and what is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from converter.adapters.in_memory import from_python
from converter.dataset import DataOptions, Dataset
from tests.support.local_fleet import ROOT
from wire.errors import DataError

X, Y = np.arange(240, dtype=np.float32).reshape(60, 2, 2), np.arange(60) % 3


def stacked(made: Dataset) -> tuple[Any, Any]:
    """Return all rows of a set that was not divided by its giver, in their first order."""
    splits = (made.train, made.choose, made.test)
    x = np.concatenate([split.inputs[""] for split in splits])
    order = np.argsort(x.reshape(len(x), -1)[:, 0])
    y = None if made.test.truth is None else np.concatenate([np.asarray(s.truth) for s in splits])[order]
    return x[order], y


class Loader:
    """Batches by their position, and no iterator: as a Keras or PyTorch data set."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, position: int) -> tuple[Any, Any]:
        return X[15 * position :][:15], Y[15 * position :][:15]


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X.tolist(), Y.tolist()),
        (list(X), Y),
        {"x": X, "y": Y},
        [(x, int(y)) for x, y in zip(X, Y, strict=True)],
        [(X[start : start + 7], Y[start : start + 7]) for start in range(0, 60, 7)],
        [[X[start : start + 7], Y[start : start + 7]] for start in range(0, 60, 7)],
        Loader(),
    ],
    ids=["arrays", "lists", "list of arrays", "dict", "samples", "batches", "torch batches", "by position"],
)
def test_one_set_may_come_in_many_forms(data: Any) -> None:
    x, y = stacked(from_python(data))
    assert (x == X).all()
    assert (y == Y).all()


def test_inputs_alone_are_samples_or_batches_as_the_model_takes_them() -> None:
    batches = [X[start : start + 7] for start in range(0, 60, 7)]
    for data, hint in [(X, None), (list(X), None), (batches, (2, 2, 1)), (list(X), (2, 2))]:
        x, y = stacked(from_python(data, DataOptions(shape_hint=hint)))
        assert (x == X).all()
        assert y is None
    made = from_python(lambda: ([x[np.newaxis]] for x in X))  # as TFLiteConverter's representative_dataset
    assert (stacked(made)[0] == X).all()


def test_parts_may_come_as_keras_loads_them_or_by_name() -> None:
    for data in (((X, Y), (X[:40], Y[:40])), {"train": (X, Y), "test": zip(X[:40], Y[:40], strict=True)}):
        made = from_python(data)
        assert [len(split) for split in (made.train, made.choose, made.test)] == [60, 20, 20]


def test_several_inputs_keep_their_names_or_get_their_positions() -> None:
    assert sorted(from_python(({"left": X, "right": Y}, Y)).test.inputs) == ["left", "right"]
    assert sorted(from_python(([X, X], Y)).test.inputs) == ["0", "1"]
    samples = (({"left": x, "right": x}, y) for x, y in zip(X, Y, strict=True))
    assert sorted(from_python(samples).test.inputs) == ["left", "right"]


def test_what_never_ends_is_cut_off_with_a_note() -> None:
    made = from_python(((X[n % 60], n % 3) for n in itertools.count()), limit_rows=50)
    assert sum(len(split) for split in (made.train, made.choose, made.test)) == 50
    assert made.notes[0] == "x is cut off after 50 rows"
    assert "cut off" not in from_python(((x, 0) for x in X), limit_rows=60).notes[0]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("d.npz", "is of type str: give"),
        ([], "has no elements"),
        ({"xtrain": X}, r"holds no inputs \(it holds xtrain; needed: x_train"),
        ([X[0], X[0][:1]], r"a row of element 1 is \[1, 2\], of the first \[2, 2\]"),
        ([(X[0], 1), X[0]], "element 1 has other inputs than the first, or no truth"),
        ((X, [[1], [1, 2]]), "y is no array of numbers"),
        ((X, Y, Y, Y), "is a tuple of 4: needed is"),
    ],
)
def test_data_that_cannot_be_used_is_named(data: Any, line: str) -> None:
    with pytest.raises(DataError, match=f"^the data given:? {line}"):
        from_python(data)


_TF_DATA = """
import numpy as np, tensorflow as tf
from converter.adapters.in_memory import from_python
x, y = np.zeros((60, 2, 2), np.float32), np.array(["a", "b", "c"] * 20)
whole = tf.data.Dataset.from_tensor_slices((x, y))
dicts = tf.data.Dataset.from_tensor_slices(({"left": x, "right": x}, y))
for data in (whole, whole.batch(7), whole.batch(10, drop_remainder=True), dicts.batch(7), dicts):
    made = from_python(data)
    assert {array.shape for array in made.train.inputs.values()} == {(42, 2, 2)}, data
    assert made.labels == ("a", "b", "c") and len(made.test) == 9
alone = from_python(tf.data.Dataset.from_tensor_slices(x).batch(7).repeat(), limit_rows=40)
assert alone.train.inputs[""].shape == (28, 2, 2) and "cut off after 40" in alone.notes[0]
"""


def test_tf_data_is_read_in_batches_and_without() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TF_DATA], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
