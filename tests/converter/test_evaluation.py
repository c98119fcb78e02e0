"""Marks: what is counted, and what is told apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from converter.evaluation import class_shares, evaluate, largest_recall_drop, mcnemar

ONE_HOT = np.eye(3, dtype=np.float32)


def test_a_model_with_equal_accuracy_and_other_answers_is_told_apart() -> None:
    truth = np.array([0, 1, 2, 2])
    before, after = ONE_HOT[[0, 1, 2, 0]], ONE_HOT[[0, 1, 0, 2]]
    found = evaluate(after, before, truth, "classes")
    assert found.classes is not None
    assert found.score == 0.75
    assert found.agreement == 0.5
    assert (found.classes.newly_wrong, found.classes.newly_right) == (1, 1)
    assert found.largest_difference == 1.0


def test_classes_have_the_figures_that_scikit_learn_gives_them() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 4, 200)
    outputs = random.random((200, 4)).astype(np.float32) + np.eye(4, dtype=np.float32)[truth] * 0.4
    found = evaluate(outputs, outputs, truth, "classes").classes
    assert found is not None
    wanted = metrics.precision_recall_fscore_support(truth, outputs.argmax(1), average=None)
    for mine, theirs in zip((found.precisions, found.recalls, found.f1s, found.members), wanted, strict=True):
        assert mine == pytest.approx(theirs)
    assert found.macro_f1 == pytest.approx(np.mean(wanted[2]))


def test_a_class_that_the_data_lacks_has_no_figures() -> None:
    found = evaluate(ONE_HOT[[0, 1]], ONE_HOT[[0, 1]], np.array([0, 0]), "classes").classes
    assert found is not None
    assert found.recalls == (0.5, None, None)
    assert found.f1s[2] is None
    assert found.worst_recall == 0.5


def test_logits_and_shares_are_marked_alike() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    shares = class_shares(logits, logits)
    assert shares.sum(1) == pytest.approx(1.0)
    assert class_shares(shares, shares) == pytest.approx(shares)
    assert shares.argmax(1).tolist() == [0, 1]


def test_one_output_is_the_share_of_the_second_class() -> None:
    found = evaluate(
        np.array([[0.9], [0.2], [0.6]]), np.array([[0.9], [0.2], [0.4]]), np.array([1, 0, 0]), "binary"
    )
    assert found.classes is not None
    assert found.score == pytest.approx(2 / 3)
    assert found.classes.newly_wrong == 1
    logits = np.array([[-3.0], [4.0]])
    assert class_shares(logits, logits).argmax(1).tolist() == [0, 1]


def test_rounding_does_not_turn_shares_into_logits() -> None:
    source = np.array([[0.9], [0.2], [0.4]])
    found = evaluate(source - 0.201, source, np.array([1, 0, 0]), "binary")
    assert found.score == 1.0


def test_a_line_through_0_and_1_says_yes_above_a_half() -> None:
    source = np.array([[1.1], [-0.1], [0.3], [0.7]])
    assert evaluate(source, source, np.array([1, 0, 0, 1]), "binary").score == 1.0


def test_a_large_target_does_not_hide_what_a_small_one_lost() -> None:
    truth = np.array([[300_000.0, 1.0], [200_000.0, 2.0], [100_000.0, 3.0]])
    dead = truth * [1.0, 0.0]
    assert evaluate(truth, truth, truth, "values").score == 1.0
    score = evaluate(dead, truth, truth, "values").score
    assert score is not None
    assert score < 0


def test_a_target_that_never_changes_is_measured_by_its_size() -> None:
    truth = np.full((3, 1), 5.0)
    assert evaluate(truth * 1.01, truth, truth, "values").score == pytest.approx(0.99)


def test_a_regression_is_marked_in_the_unit_of_its_target() -> None:
    truth = np.array([[1.0], [2.0], [3.0]], np.float32)
    found = evaluate(truth + 0.5, truth, truth, "values")
    assert found.values is not None
    assert (found.values.mae, found.values.rmse) == (0.5, 0.5)
    assert found.values.r2 == pytest.approx(1 - 0.75 / 2)
    assert found.score == pytest.approx(1 - 0.5 / np.std(truth))
    assert found.agreement is None


def test_certainty_that_is_earned_has_no_calibration_error() -> None:
    sure = evaluate(ONE_HOT[[0, 1, 2]], ONE_HOT[[0, 1, 2]], np.array([0, 1, 2]), "classes").classes
    vain = evaluate(ONE_HOT[[0, 1, 2]], ONE_HOT[[0, 1, 2]], np.array([1, 2, 0]), "classes").classes
    assert sure is not None
    assert vain is not None
    assert (sure.calibration_error, vain.calibration_error) == (0.0, 1.0)


def test_without_truth_the_score_is_the_agreement() -> None:
    found = evaluate(ONE_HOT[[0, 1]], ONE_HOT[[0, 2]], None, "unlabelled")
    assert found.score == found.agreement == 0.5


def test_the_class_that_pays_is_found() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    before = evaluate(ONE_HOT[truth], ONE_HOT[truth], truth, "classes").classes
    after = evaluate(ONE_HOT[[0, 0, 1, 1, 2, 0]], ONE_HOT[truth], truth, "classes").classes
    assert before is not None
    assert after is not None
    worst = largest_recall_drop(before, after)
    assert (worst.position, worst.drop, worst.members) == (2, 0.5, 2)


@pytest.mark.parametrize(("wrong", "right", "p"), [(0, 0, 1.0), (5, 5, 1.0), (1, 0, 1.0), (8, 0, 2 / 2**8)])
def test_mcnemar_is_a_fair_coin_on_what_changed(wrong: int, right: int, p: float) -> None:
    assert mcnemar(wrong, right) == pytest.approx(p)
    assert mcnemar(right, wrong) == mcnemar(wrong, right)


def test_mcnemar_takes_any_number_of_changes() -> None:
    assert 0 < mcnemar(1200, 1000) < 0.001
