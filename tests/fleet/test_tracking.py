"""The pure half of "exactly once"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.tracking import MAX_PENDING, Tracker
from wire.errors import MessageError


def test_the_mark_is_the_highest_sequence_without_a_gap_below() -> None:
    tracker = Tracker()
    assert [tracker.add(s, 1) for s in (1, 3, 4)] == [True] * 3
    assert (tracker.mark, tracker.missing) == (1, 1)
    tracker.add(2, 1)
    assert (tracker.mark, tracker.missing) == (4, 0)


def test_a_double_is_told_apart() -> None:
    tracker = Tracker()
    assert tracker.add(1, 1)
    assert not tracker.add(1, 1)
    assert tracker.add(5, 1)
    assert not tracker.add(5, 1)


def test_what_the_device_had_to_drop_is_counted_and_not_waited_for() -> None:
    tracker = Tracker()
    for sequence in (1, 3):
        tracker.add(sequence, 1)
    tracker.add(9, 6)
    assert (tracker.mark, tracker.lost) == (5, 3)  # 2, 4 and 5
    for sequence in (6, 7, 8):
        tracker.add(sequence, 6)
    assert tracker.mark == 9


@pytest.mark.parametrize(("sequence", "first"), [(0, 0), (0, 1), (-1, 1), (1, 2), (5, 0), (5, -3)])
def test_an_absurd_head_is_refused(sequence: int, first: int) -> None:
    with pytest.raises(MessageError):
        Tracker().add(sequence, first)


def test_a_gap_cannot_be_used_to_fill_the_memory() -> None:
    tracker = Tracker(pending=frozenset(range(2, MAX_PENDING + 2)))
    with pytest.raises(MessageError, match="above a gap"):
        tracker.add(MAX_PENDING + 5, 1)
    assert tracker.add(1, 1)


@given(st.permutations(list(range(1, 30))), st.lists(st.integers(1, 29)))
def test_in_any_order_and_with_any_doubles_everything_counts_once(
    order: list[int], doubles: list[int]
) -> None:
    tracker = Tracker()
    counted = sum(
        tracker.add(sequence, 1) for pair in zip(order, [*doubles, *order], strict=False) for sequence in pair
    )
    counted += sum(tracker.add(sequence, 1) for sequence in order)
    assert counted == 29
    assert (tracker.mark, tracker.lost, tracker.missing) == (29, 0, 0)
