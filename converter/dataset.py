"""The data set that calibrates and measures a model, checked before anything costly runs.

Rules:
- inputs are numbers, finite, one sample a row; they become float32 as the model would see them;
- labels are class numbers 0..classes-1, one a row (a classification; the only task so far);
- x_train only calibrates, x_test only measures.

Calibrating on data of another scale is the dearest mistake there is (0..255 for a model trained on
0..1 measured 22 % instead of 98 %), so inputs must be what the model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wire.errors import DataError

Array = npt.NDArray[Any]

KEYS: Final = ("x_train", "y_train", "x_test", "y_test")
LABELS_KEY: Final = "labels"


@dataclass(frozen=True)
class Dataset:
    """Inputs float32 [n, ...], class numbers int64 [n], and a name for each output (may be empty)."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    labels: tuple[str, ...] = ()


def check_keys(keys: Iterable[str], name: str) -> None:
    """Raise DataError when the file `name`, which holds `keys`, lacks one that is needed."""
    held = sorted(keys)
    missing = [key for key in KEYS if key not in held]
    if missing:
        has = ", ".join(held[:8]) or "nothing"
        raise DataError(f"{name} lacks {', '.join(missing)} (it holds {has}; needed: {', '.join(KEYS)})")


def make_dataset(arrays: Mapping[str, Array], name: str) -> Dataset:
    """Check the arrays of the file `name` against each other; raise DataError for what is wrong."""
    inputs = {key: _inputs(arrays[key], f"{name}: {key}") for key in ("x_train", "x_test")}
    truths = {key: _class_numbers(arrays[key], f"{name}: {key}") for key in ("y_train", "y_test")}
    for split in ("train", "test"):
        rows, answers = len(inputs[f"x_{split}"]), len(truths[f"y_{split}"])
        if rows != answers:
            raise DataError(f"{name}: x_{split} has {rows} rows, y_{split} has {answers}")
    one, other = inputs["x_train"].shape[1:], inputs["x_test"].shape[1:]
    if one != other:
        raise DataError(f"{name}: a row of x_train is {list(one)}, of x_test {list(other)}")
    labels = _labels(arrays[LABELS_KEY], name) if LABELS_KEY in arrays else ()
    return Dataset(**inputs, **truths, labels=labels)


def check_fits(dataset: Dataset, outputs: int, name: str) -> None:
    """Raise DataError when the labels of the file `name` do not fit a model with `outputs` outputs."""
    for key, truth in (("y_train", dataset.y_train), ("y_test", dataset.y_test)):
        highest = int(truth.max())
        if highest >= outputs:
            raise DataError(
                f"{name}: {key} holds class {highest}, but the model has {outputs} "
                f"output{'s' if outputs != 1 else ''} (classes 0 to {outputs - 1})"
            )
    if dataset.labels and len(dataset.labels) != outputs:
        raise DataError(f"{name}: {len(dataset.labels)} labels, but the model has {outputs} outputs")


def calibration_rows(x_train: Array, limit: int) -> Array:
    """Return at most `limit` rows, spread evenly: data sets are often sorted by class."""
    rows = np.linspace(0, len(x_train) - 1, min(limit, len(x_train))).round().astype(np.int64)
    chosen: Array = x_train[rows]
    return chosen


def _inputs(array: Array, what: str) -> Array:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} holds {array.dtype}, not numbers")
    if array.ndim < 2 or 0 in array.shape:
        raise DataError(f"{what} has shape {list(array.shape)}: needed are rows of samples")
    numbers = array.astype(np.float32)
    bad = ~np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
    if bad.any():
        raise DataError(
            f"{what} holds NaN or infinity in {int(bad.sum())} rows, first in row {int(np.argmax(bad))}"
        )
    return numbers


def _class_numbers(array: Array, what: str) -> Array:
    if array.ndim == 2 and array.shape[1] > 1:
        raise DataError(f"{what} has shape {list(array.shape)}: give one class number a row, not one-hot")
    if not array.size:
        raise DataError(f"{what} is empty")
    flat = array.ravel()
    if flat.dtype.kind not in "fiub" or not np.array_equal(flat, np.rint(flat.astype(np.float64))):
        raise DataError(f"{what} must hold class numbers (whole, from 0), one a row")
    numbers = flat.astype(np.int64)
    if numbers.min() < 0:
        raise DataError(f"{what} holds class {int(numbers.min())}: classes count from 0")
    return numbers


def _labels(array: Array, name: str) -> tuple[str, ...]:
    labels = tuple(str(label) for label in array.ravel().tolist())
    if any("\n" in label or not label for label in labels):
        raise DataError(f"{name}: a label is empty or has a line break")
    return labels
