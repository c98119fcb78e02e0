"""What a model is for, and the one line for each truth that does not fit its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converter.task import Task, task_of, truth_for
from wire.errors import DataError

NAME = "d.npz: y_test"


def outputs(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("truth", "shape", "task"),
    [
        (None, (4, 3), "unlabelled"),
        ([0, 2, 1, 0], (4, 3), "classes"),
        ([0.0, 2.0, 1.0, 0.0], (4, 3), "classes"),
        ([[0], [2], [1], [0]], (4, 3), "classes"),
        (np.eye(4), (4, 4), "classes"),
        (np.zeros((4, 6, 5), int), (4, 6, 5, 3), "classes"),
        (np.zeros((4, 6, 5, 1), int), (4, 6, 5, 3), "classes"),
        ([0, 1, 1, 0], (4, 1), "binary"),
        ([True, False, True, True], (4,), "binary"),
        (np.ones((4, 6, 5)), (4, 6, 5, 1), "binary"),
        ([0, 1, 2, 3], (4, 1), "values"),
        ([0.5, 1, 0, 1], (4, 1), "values"),
        ([[0.5, 1], [0, 1], [2, 3], [4, 5]], (4, 2), "values"),
        ([[1, 1], [0, 1], [0, 0], [0, 1]], (4, 2), "values"),
        ([0.5, 1, 0, 1], (4, 3), "values"),
    ],
)
def test_truth_and_outputs_tell_the_task(truth: Any, shape: tuple[int, ...], task: Task) -> None:
    assert task_of(None if truth is None else np.asarray(truth), outputs(*shape)) == task


def test_class_numbers_come_from_columns_one_hot_rows_and_positions() -> None:
    for truth in ([1.0, 0.0], [[1], [0]], [[0, 1, 0], [1, 0, 0]]):
        numbers = truth_for("classes", np.asarray(truth), outputs(2, 3), NAME, ())
        assert (numbers.dtype, numbers.tolist()) == (np.int64, [1, 0])
    mask = truth_for("classes", np.arange(6).reshape(1, 2, 3), outputs(1, 2, 3, 6), NAME, ())
    assert mask.tolist() == [0, 1, 2, 3, 4, 5]


def test_yes_or_no_becomes_zero_or_one() -> None:
    answers = truth_for("binary", np.array([[True], [False]]), outputs(2, 1), NAME, ("no", "yes"))
    assert (answers.dtype, answers.tolist()) == (np.int64, [1, 0])


def test_values_take_the_shape_of_the_outputs() -> None:
    values = truth_for("values", np.array([1.5, 2.0]), outputs(2, 1), NAME, ())
    assert (values.dtype, values.tolist()) == (np.float32, [[1.5], [2.0]])


@pytest.mark.parametrize(
    ("truth", "shape", "labels", "line"),
    [
        ([0, 19], (2, 10), (), r"y_test holds class 19, but the model has 10 outputs \(classes 0 to 9\)"),
        ([1, 3], (2, 3), (), "y_test holds classes 1 to 3: classes count from 0, subtract 1"),
        ([-1, 0], (2, 3), (), "y_test holds class -1: classes count from 0"),
        ([0, 1], (2, 3), tuple("abcdefghij"), "10 labels, but the model has 3 outputs"),
        ([0, 1], (2, 1), ("a", "b", "c"), "3 labels, but the model has 1 output$"),
        ([0, 2], (2, 1), ("a", "b", "c"), "3 labels, but the model has 1 output$"),
        ([0.5, 1], (2, 3), (), r"y_test has shape \[2\], the model answers \[2, 3\]: give one class"),
        (np.eye(2), (2, 3), (), r"y_test has shape \[2, 2\], the model answers \[2, 3\]"),
        ([0, 1, 2], (2, 3), (), "y_test has 3 rows, the model answered 2"),
    ],
)
def test_truth_that_does_not_fit_is_named(
    truth: Any, shape: tuple[int, ...], labels: tuple[str, ...], line: str
) -> None:
    array, answers = np.asarray(truth), outputs(*shape)
    with pytest.raises(DataError, match=f"^d.npz: .*{line}"):
        truth_for(task_of(array, answers), array, answers, NAME, labels)


def test_one_part_may_not_leave_the_task_of_the_other() -> None:
    with pytest.raises(DataError, match="y_test holds 2, where the rest holds only 0 and 1"):
        truth_for("binary", np.array([0, 2]), outputs(2, 1), NAME, ())
    with pytest.raises(DataError, match=r"y_test must hold class numbers \(whole, from 0\)"):
        truth_for("classes", np.array([0.5, 1]), outputs(2, 3), NAME, ())
