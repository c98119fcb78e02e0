"""What a model is for, told from its truth and the shape of its outputs. Pure.

    truth                                       outputs          task
    ------------------------------------------  ---------------  ----------
    none                                        any              unlabelled
    whole numbers, one for each row of outputs  (n, ..., k >= 2)  classes
    one-hot, in the outputs' shape              (n, ..., k >= 2)  classes
    only 0 and 1, one for each output           (n,), (n, ..., 1)  binary
    anything else                               any              values

Rules:
- axes of length 1 after the first say nothing: [n, 1] is [n];
- classes per position (outputs (n, height, width, k)) are flattened: each position is an answer of
  its own;
- several yes-or-no outputs in one ([n, k] of 0 and 1, not one-hot) are values: no one class is right;
- a model of one output with more whole numbers than 0 and 1 is a regression: rooms, years, ratings.
"""

from __future__ import annotations

from typing import Any, Literal, assert_never

import numpy as np
import numpy.typing as npt

from wire.errors import DataError

Array = npt.NDArray[Any]

Task = Literal["classes", "binary", "values", "unlabelled"]


def task_of(truth: Array | None, outputs: Array) -> Task:
    """Return what kind of task `truth` (numbers, rows first) makes of `outputs` (rows first)."""
    if truth is None:
        return "unlabelled"
    if _classes(outputs) >= 2:
        per_row = _shape(truth) == _shape(outputs[..., 0]) and _whole(truth)
        return "classes" if per_row or _one_hot(truth, outputs) else "values"
    if _shape(truth) == _shape(outputs) and np.isin(truth, (0, 1)).all():
        return "binary"
    return "values"


def truth_for(task: Task, truth: Array, outputs: Array, name: str, labels: tuple[str, ...]) -> Array:
    """Return `truth` as the task's marks need it, checked against `outputs` and `labels`.

    `classes`: class numbers int64 [answers], where an answer is a row of the outputs' last axis;
    `binary`: 0 or 1, int64 [answers]; `values`: float32 of the outputs' shape. `name` begins an
    error's line and names the truth: "digits.npz: y_test". Raises DataError for what does not match.
    """
    if len(truth) != len(outputs):
        raise DataError(f"{name} has {len(truth)} rows, the model answered {len(outputs)}")
    match task:
        case "classes":
            return _class_numbers(truth, outputs, name, labels)
        case "binary":
            return _yes_or_no(truth, name, labels)
        case "values":
            return _values(truth, outputs, name, labels)
        case "unlabelled":
            raise DataError(f"{name} is there, but the model was measured without truth")
    assert_never(task)


def _class_numbers(truth: Array, outputs: Array, name: str, labels: tuple[str, ...]) -> Array:
    numbers = np.argmax(truth, axis=-1) if _one_hot(truth, outputs) else truth
    if not _whole(numbers):
        raise DataError(f"{name} must hold class numbers (whole, from 0), one a row")
    classes, lowest, highest = _classes(outputs), int(numbers.min()), int(numbers.max())
    if lowest < 0:
        raise DataError(f"{name} holds class {lowest}: classes count from 0")
    if lowest >= 1 and highest == classes:
        raise DataError(f"{name} holds classes {lowest} to {highest}: classes count from 0, subtract 1")
    if highest >= classes:
        raise DataError(
            f"{name} holds class {highest}, but the model has {classes} outputs (classes 0 to {classes - 1})"
        )
    _check_labels(labels, classes, (classes,), name)
    return numbers.reshape(-1).astype(np.int64)


def _yes_or_no(truth: Array, name: str, labels: tuple[str, ...]) -> Array:
    if not np.isin(truth, (0, 1)).all():
        other = truth[~np.isin(truth, (0, 1))].flat[0]
        raise DataError(f"{name} holds {other:g}, where the rest holds only 0 and 1")
    _check_labels(labels, 1, (1, 2), name)
    return truth.reshape(-1).astype(np.int64)


def _values(truth: Array, outputs: Array, name: str, labels: tuple[str, ...]) -> Array:
    if _shape(truth) != _shape(outputs):
        raise DataError(
            f"{name} has shape {list(truth.shape)}, the model answers {list(outputs.shape)}: "
            "give one class number a row, or one value for each output"
        )
    _check_labels(labels, _classes(outputs), (_classes(outputs),), name)
    return truth.reshape(outputs.shape).astype(np.float32)


def _check_labels(labels: tuple[str, ...], outputs: int, allowed: tuple[int, ...], name: str) -> None:
    if labels and len(labels) not in allowed:
        many = "s" if outputs != 1 else ""
        raise DataError(f"{name}: {len(labels)} labels, but the model has {outputs} output{many}")


def _classes(outputs: Array) -> int:
    return int(outputs.shape[-1]) if outputs.ndim > 1 else 1


def _shape(array: Array) -> tuple[int, ...]:
    """Return the shape without the axes after the first that have length 1."""
    return (len(array), *(size for size in array.shape[1:] if size != 1))


def _whole(array: Array) -> bool:
    return array.dtype.kind in "iub" or bool(np.array_equal(array, np.rint(array)))


def _one_hot(truth: Array, outputs: Array) -> bool:
    if truth.shape != outputs.shape or not np.isin(truth, (0, 1)).all():
        return False
    return bool((np.count_nonzero(truth, axis=-1) == 1).all())
