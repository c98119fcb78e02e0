"""What was read is shared by all who look, for a moment."""

from __future__ import annotations

from typing import Any

from fleet.web.kept import Kept
from tests.support.fakes import TurnedClock


class Slow:
    """A store that takes `cost_s` to say how often it was asked."""

    def __init__(self, clock: TurnedClock, cost_s: float) -> None:
        self.asked, self._clock, self._cost_s = 0, clock, cost_s

    def refusals(self) -> dict[str, int]:
        self.asked += 1
        self._clock.turn(self._cost_s)
        return {"asked": self.asked}


def kept(cost_s: float) -> tuple[TurnedClock, Slow, Kept]:
    clock = TurnedClock()
    store: Any = Slow(clock, cost_s)
    return clock, store, Kept(store, clock)


def test_many_who_look_within_a_second_cost_one_reading() -> None:
    clock, store, reading = kept(0.0)
    for _ in range(10):
        reading.refusals()
        clock.turn(0.09)
    assert store.asked == 1
    clock.turn(0.2)
    assert reading.refusals() == {"asked": 2}


def test_what_takes_long_is_kept_for_longer() -> None:
    clock, store, reading = kept(2.0)
    reading.refusals()
    clock.turn(7.9)
    reading.refusals()
    assert store.asked == 1
    clock.turn(0.2)
    reading.refusals()
    assert store.asked == 2


def test_what_is_being_read_while_something_changes_is_not_kept() -> None:
    _, store, reading = kept(2.0)
    read = store.refusals

    def refusals() -> dict[str, int]:
        found = read()
        reading.forget()
        return found

    store.refusals = refusals  # type: ignore[method-assign]  # a change comes in the middle
    assert [reading.refusals(), reading.refusals()] == [{"asked": 1}, {"asked": 2}]


def test_what_was_changed_is_read_at_once() -> None:
    _, store, reading = kept(2.0)
    reading.refusals()
    reading.forget()
    assert reading.refusals() == {"asked": store.asked} == {"asked": 2}
