"""The measures, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from converter.evaluation import evaluate, largest_recall_drop

# Five samples, three classes of which the last never occurs. Best outputs: 0 1 1 0 2 and 0 1 0 1 0.
TRUTH = np.array([0, 1, 1, 1, 0])
BEFORE = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0.6, 0.4, 0], [0.1, 0.2, 0.7]])
AFTER = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.4, 0.6, 0], [0.8, 0.2, 0.0]])


def test_accuracy_and_recall_count_what_is_right() -> None:
    found = evaluate(BEFORE, BEFORE, TRUTH)
    assert found.count == 5
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.recalls == (1 / 2, 2 / 3, None)
    assert found.worst_recall == 1 / 2


def test_a_model_agrees_with_itself() -> None:
    found = evaluate(AFTER, AFTER, TRUTH)
    assert (found.agreement, found.newly_wrong, found.newly_right) == (1.0, 0, 0)
    assert found.worst_difference == 0.0


def test_changes_are_counted_by_their_direction() -> None:
    found = evaluate(AFTER, BEFORE, TRUTH)
    assert found.agreement == pytest.approx(2 / 5)
    assert (found.newly_wrong, found.newly_right) == (1, 2)
    assert found.worst_difference == pytest.approx(0.7)


def test_equal_accuracy_can_hide_a_class_that_lost() -> None:
    truth = np.array([0, 0, 1, 1])
    good_at_0 = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    good_at_1 = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    before, after = evaluate(good_at_0, good_at_0, truth), evaluate(good_at_1, good_at_0, truth)
    assert before.accuracy == after.accuracy == 0.75
    worst = largest_recall_drop(before, after)
    assert (worst.position, worst.drop) == (0, 0.5)
