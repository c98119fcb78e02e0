"""What a data set must be, and the one line for each thing that it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.adapters.npz import read_dataset
from converter.dataset import calibration_rows, check_fits, make_dataset
from wire.errors import DataError


def arrays(**other: Any) -> dict[str, Any]:
    x, y = np.zeros((6, 4), np.float32), np.array([0, 1, 2, 0, 1, 2])
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y} | other


def with_nan() -> np.ndarray[Any, Any]:
    x = np.zeros((6, 4), np.float32)
    x[3, 1] = np.nan
    return x


def test_numbers_of_any_kind_become_float32_and_labels_text() -> None:
    made = make_dataset(arrays(x_test=np.ones((6, 4), np.uint8), labels=np.array([7, 8, 9])), "d.npz")
    assert made.x_test.dtype == np.float32
    assert made.labels == ("7", "8", "9")


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"x_train": with_nan()}, "x_train holds NaN or infinity in 1 rows, first in row 3"),
        ({"x_test": np.zeros((0, 4))}, r"x_test has shape \[0, 4\]"),
        ({"x_test": np.zeros((5, 4))}, "x_test has 5 rows, y_test has 6"),
        ({"x_test": np.zeros((6, 3))}, r"a row of x_train is \[4\], of x_test \[3\]"),
        ({"x_train": np.array([["a"]] * 6)}, "x_train holds <U1, not numbers"),
        ({"y_test": np.eye(6)}, "one class number a row, not one-hot"),
        ({"y_train": np.array([0.5] * 6)}, "y_train must hold class numbers"),
        ({"y_train": np.array([-1] * 6)}, "y_train holds class -1"),
        ({"labels": np.array(["a", "b\nc"])}, "a label is empty or has a line break"),
    ],
)
def test_what_does_not_fit_is_named(bad: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=f"^d.npz: .*{line}"):
        make_dataset(arrays(**bad), "d.npz")


def test_labels_beyond_the_outputs_are_refused() -> None:
    made = make_dataset(arrays(), "d.npz")
    check_fits(made, 3, "d.npz")
    with pytest.raises(DataError, match="y_train holds class 2, but the model has 2 outputs"):
        check_fits(made, 2, "d.npz")


def test_names_must_be_as_many_as_outputs() -> None:
    with pytest.raises(DataError, match="2 labels, but the model has 3 outputs"):
        check_fits(make_dataset(arrays(labels=np.array(["a", "b"])), "d.npz"), 3, "d.npz")


def test_calibration_is_spread_over_the_whole_set() -> None:
    rows = calibration_rows(np.arange(1000).reshape(-1, 1), 100).ravel()
    assert (len(rows), rows[0], rows[-1]) == (100, 0, 999)
    assert len(calibration_rows(np.zeros((7, 1)), 100)) == 7


def test_a_file_that_is_no_data_set_is_named(tmp_path: Path) -> None:
    text, short, pickled = tmp_path / "text.npz", tmp_path / "short.npz", tmp_path / "pickled.npz"
    text.write_text("hello")
    np.savez(short, x_train=np.zeros((2, 2)), images=np.zeros(1))
    np.savez(pickled, **arrays(x_test=np.array([{}], object)))
    for path, line in [
        (tmp_path / "none.npz", "is not there"),
        (tmp_path, "is not a file"),
        (text, "is not an npz file"),
        (short, r"lacks y_train, x_test, y_test \(it holds images, x_train;"),
        (pickled, "cannot be read: Object arrays"),
    ]:
        with pytest.raises(DataError, match=f"^{path} .*{line}|^{path} {line}"):
            read_dataset(path)
