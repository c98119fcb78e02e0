"""A message lands in its own hour when its clock can be right, and in that of its arrival otherwise."""

from __future__ import annotations

import math

import pytest

from fleet.timing import AHEAD_S, KNOWN_PAST_S, Moment, moment, slot

NOW_S = 1_796_000_000.0


@pytest.mark.parametrize(
    ("said_s", "expected"),
    [
        (NOW_S, Moment(NOW_S)),
        (NOW_S - 3 * 86_400, Moment(NOW_S - 3 * 86_400)),  # a backlog of three days
        (NOW_S + AHEAD_S, Moment(NOW_S + AHEAD_S)),
        (NOW_S + AHEAD_S + 1, Moment(NOW_S, "ahead")),
        (4_070_908_800.0, Moment(NOW_S, "ahead")),  # 2099
        (math.inf, Moment(NOW_S, "ahead")),
        (math.nan, Moment(NOW_S, "ahead")),
        (KNOWN_PAST_S, Moment(KNOWN_PAST_S)),
        (KNOWN_PAST_S - 1, Moment(NOW_S, "behind")),
        (12.0, Moment(NOW_S, "behind")),  # 1970
        (-1e300, Moment(NOW_S, "behind")),
    ],
)
def test_the_devices_clock_counts_where_it_can_be_right(said_s: float, expected: Moment) -> None:
    assert moment(said_s, NOW_S) == expected


def test_a_server_that_lives_in_the_past_itself_believes_its_devices() -> None:
    assert moment(1000.0, 1100.0) == Moment(1000.0)


def test_slots_begin_at_whole_multiples() -> None:
    assert [slot(t, 3600) for t in (0.0, 3599.9, 3600.0, -0.1)] == [0, 0, 3600, -3600]
