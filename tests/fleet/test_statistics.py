"""Intervals, against published values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.health import presence
from fleet.statistics import wilson


def test_wilson_matches_the_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81/263 gives 0.2553 to 0.3662.
    low, high = wilson(81, 263) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_no_trials_have_no_interval() -> None:
    assert wilson(0, 0) is None


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_proportion_and_stays_within_0_and_1(case: tuple[int, int]) -> None:
    successes, trials = case
    low, high = wilson(successes, trials) or (1, 0)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("online", "silent_for_s", "expected"),
    [(True, 10.0, "online"), (True, 200.0, "silent"), (False, 1.0, "offline"), (False, 900.0, "offline")],
)
def test_presence_is_what_the_device_did_not_what_the_broker_says(
    online: bool, silent_for_s: float, expected: str
) -> None:
    assert presence(online=online, silent_for_s=silent_for_s, interval_s=60.0) == expected
