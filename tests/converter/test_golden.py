"""The golden set: which samples, how many, and how much a device may differ."""

from __future__ import annotations

import io

import numpy as np
import pytest

from converter import golden


def test_every_class_is_in_it_the_least_certain_first() -> None:
    strata = np.array([0, 0, 0, 1, 1, 1])
    certainty = np.array([0.9, 0.1, 0.5, 0.8, 0.7, 0.2])
    assert golden.choose(strata, certainty, 2).tolist() == [1, 5]
    assert golden.choose(strata, certainty, 4).tolist() == [1, 5, 2, 4]
    assert sorted(golden.choose(strata, certainty, 6).tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_class_with_one_member_gives_its_turn_away() -> None:
    assert golden.choose(np.array([0, 1, 1]), np.array([0.5, 0.5, 0.6]), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("rows", "row_bytes", "model_bytes", "count"),
    [
        (540, 64, 45_000, 24),  # the digits model: as many as are useful
        (3, 64, 45_000, 3),
        (500, 3_072, 650_000, 10),  # a small image model: a twentieth of it
        (500, 150_528, 4_000_000, 4),  # a large image: as few as show anything
        (500, 12_000_000, 4_000_000, 1),  # what a bundle's reader accepts
        (500, 1_048_576, 36_000, 1),  # a sample that outweighs its model
    ],
)
def test_it_costs_a_twentieth_of_the_model(rows: int, row_bytes: int, model_bytes: int, count: int) -> None:
    assert golden.count_for(rows, row_bytes, model_bytes) == count


def test_certainty_is_the_lead_of_the_best_answer() -> None:
    assert golden.certainty(np.array([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]])) == pytest.approx([0.5, 0.0])
    assert golden.certainty(np.array([[1.0], [3.0], [5.0]])).tolist() == [2.0, 0.0, 2.0]


def test_several_inputs_and_outputs_are_stored_in_order_and_in_the_models_types() -> None:
    data = golden.encode(
        (np.ones((2, 3), np.int8), np.zeros((2, 4), np.float32)), (np.ones((2, 1)), np.zeros((2, 2)))
    )
    with np.load(io.BytesIO(data)) as archive:
        assert sorted(archive) == ["expected", "expected_1", "inputs", "inputs_1"]
        assert archive["inputs"].dtype == np.int8
        assert archive["expected_1"].dtype == np.float32


def test_floats_have_to_agree_and_integers_may_round() -> None:
    expected = np.array([[0.0, 1.0]])
    assert golden.tolerance(expected, None) == pytest.approx(1e-4)
    assert golden.tolerance(expected, 0.02) == pytest.approx(0.1)
    assert golden.tolerance(expected, 0.3) == pytest.approx(0.3)
    assert golden.tolerance(expected, 3.0) == pytest.approx(0.5)
    assert golden.tolerance(np.zeros((2, 2)), 0.0) > 0
