"""What is learned when a model is fine-tuned, for each form of its answers."""

from __future__ import annotations

import numpy as np
import pytest

from converter.lessons import OWN_SHARE, Array, Form, lesson
from converter.task import Task
from wire.errors import DataError

_SHARES = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], np.float32)
_LOGITS = np.log(_SHARES) + 2
_ONE = np.array([[0.8], [0.1]], np.float32)
_ONE_LOGIT = np.log(_ONE / (1 - _ONE))


@pytest.mark.parametrize(
    ("task", "own", "truth", "form", "known", "right"),
    [
        ("classes", _SHARES, [1, 2], "classes", _SHARES, [[0, 1, 0], [0, 0, 1]]),
        ("classes", _SHARES, [[0, 1, 0], [0, 0, 1]], "classes", _SHARES, [[0, 1, 0], [0, 0, 1]]),
        ("classes", _LOGITS, [1, 2], "class_logits", _SHARES, [[0, 1, 0], [0, 0, 1]]),
        ("binary", _ONE, [1, 0], "binary", _ONE, [[1], [0]]),
        ("binary", _ONE_LOGIT, [1, 0], "binary_logits", _ONE, [[1], [0]]),
        ("values", _LOGITS, _LOGITS + 1, "values", _LOGITS, _LOGITS + 1),
    ],
)
def test_answers_and_truth_are_mixed(
    task: Task, own: Array, truth: Array, form: Form, known: Array, right: Array
) -> None:
    learned = lesson(own, task, np.array(truth))
    assert learned.form == form
    assert learned.wanted.dtype == np.float32
    expected = OWN_SHARE * known + (1 - OWN_SHARE) * np.array(right)
    np.testing.assert_allclose(learned.wanted, expected, rtol=1e-5)


@pytest.mark.parametrize(("own", "form"), [(_SHARES, "classes"), (_LOGITS, "values"), (_ONE, "values")])
@pytest.mark.parametrize("task", ["classes", "unlabelled"])
def test_without_truth_a_model_learns_from_itself(own: Array, form: Form, task: Task) -> None:
    learned = lesson(own, task, None)
    assert learned.form == form
    np.testing.assert_array_equal(learned.wanted, own)


def test_truth_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="y_train holds class 3, but the model has 3 outputs"):
        lesson(_SHARES, "classes", np.array([0, 3]))
