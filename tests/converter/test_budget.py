"""Budgets: what they read, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from converter.budget import Budget, Cost, cost_misses, loss_error_points, loss_points, misses, parse_budget
from converter.evaluation import Latency
from tests.support.marks import marks
from wire.errors import SettingsError

FLOAT32 = Cost(100_000, 90_000, Latency(100.0, 150.0))


def test_every_key_is_read_with_its_unit() -> None:
    assert parse_budget("accuracy=1.0pt, class=3,latency=20ms,size=500kB,wire=1MiB") == Budget(
        1.0, 3.0, 500_000, 1_048_576, 20_000.0
    )
    assert parse_budget("") == Budget()
    assert parse_budget("latency=310us", 2.0) == Budget(latency_us=310.0, board_factor=2.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("speed=2", "choose from accuracy, class, size, wire, latency"),
        ("latency=20", "its unit must be one of us, ms, s"),
        ("size=big", "give a number and a unit"),
        ("size=3 bananas", "its unit must be one of"),
        ("accuracy", "give a number"),
        ("accuracy=-1pt", "give a number"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_teaches(text: str, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        parse_budget(text)


def test_a_loss_inside_the_budget_is_no_miss_and_one_outside_is_told_in_points() -> None:
    assert misses(Budget(loss_points=1.0), marks({}), marks({0: 1, 1: 1, 2: 1, 3: 1})) == ()
    (line,) = misses(Budget(loss_points=1.0), marks({}), marks({0: 2, 1: 2, 2: 2, 3: 2}))
    assert line == "loses 2.0 points, 1.0 allowed"


def test_one_class_may_not_pay_for_all() -> None:
    (line,) = misses(Budget(loss_points=2.0), marks({}), marks({2: 6}))
    assert line == "class 2 loses 6.0 points of recall, 5.0 allowed"


def test_a_class_is_not_refused_for_a_single_sample() -> None:
    assert misses(Budget(loss_points=5.0), marks({}, each=10), marks({0: 1}, each=10)) == ()
    assert misses(Budget(loss_points=5.0), marks({}, each=10), marks({0: 2}, each=10)) != ()


def test_a_margin_grows_with_the_answers_that_changed() -> None:
    few = marks({0: 4})
    assert loss_points(marks({}), few) == pytest.approx(1.0)
    assert loss_error_points(few) == pytest.approx(100 * np.sqrt(4 - 16 / 400) / 400)
    assert misses(Budget(loss_points=1.0), marks({}), few) == ()
    (line,) = misses(Budget(loss_points=1.0), marks({}), few, margin_errors=1.0)
    assert line == "loses 1.0 points (and 0.5 of margin), 1.0 allowed"


def test_an_output_that_nobody_has_truth_for_may_not_be_lost() -> None:
    (line,) = misses(Budget(), marks({}), replace(marks({}), others_fit=0.6))
    assert line.startswith("another output than the first differs from the source's by 40% of its spread")


def test_an_update_counts_as_the_bundle_that_is_sent() -> None:
    update = Cost(100_000, 2_000, FLOAT32.latency, 80_000)
    (line,) = cost_misses(Budget(wire_bytes=50_000), FLOAT32, update)
    assert line == "sends 80,000 bytes, 50,000 allowed"


def test_slower_than_float32_is_refused_unless_a_latency_is_asked_for() -> None:
    slow = Cost(50_000, 40_000, Latency(250.0, 300.0))
    (line,) = cost_misses(Budget(), FLOAT32, slow)
    assert line.startswith("is 2.5 times slower than float32")
    assert cost_misses(Budget(latency_us=300.0), FLOAT32, slow) == ()
    (line,) = cost_misses(Budget(latency_us=1_000.0, board_factor=8.0), FLOAT32, slow)
    assert line == "takes 2,000 us a call, 1,000 allowed"


def test_noise_of_the_clock_is_not_slower() -> None:
    tiny = Cost(1, 1, Latency(2.0, 3.0))
    assert cost_misses(Budget(), tiny, Cost(1, 1, Latency(5.0, 9.0))) == ()


def test_sizes_are_held_apart() -> None:
    budget = Budget(file_bytes=60_000, wire_bytes=30_000)
    file_line, wire_line = cost_misses(budget, FLOAT32, Cost(70_000, 40_000, FLOAT32.latency))
    assert file_line == "takes 70,000 bytes, 60,000 allowed"
    assert wire_line == "sends 40,000 bytes, 30,000 allowed"
