"""The thread of a sink: who waits, who drops, who gives up, and that every row is accounted for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from edge.online.answer_rows import Row
from edge.online.delivery import Delivery, DeliveryRules, RowsRefusedError
from edge.online.settlement import Settlement
from edge.online.tally import Tally
from wire.deadline import Deadline, wait_until
from wire.errors import UnavailableError

WAITS, LIVE = DeliveryRules(wait=True, capacity=4, give_up_s=0.2), DeliveryRules(wait=False, capacity=4)


class Slot:
    """A sink that does what a test tells it: `gate` closed is a slow one, `faults` are raised in turn."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.faults: list[Exception] = []
        self.entered = threading.Event()
        self.hold_safe = False
        self._safe = 0

    @property
    def safe(self) -> int:
        return self._safe if self.hold_safe else len(self.rows)

    def write(self, rows: Sequence[Row]) -> int:
        self.entered.set()
        self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.rows += [row["id"] for row in rows]
        return len(rows)

    def tick(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        self.hold_safe = False


class Bench:
    def __init__(
        self,
        rules: DeliveryRules,
        outcome: Callable[[int, bool], None] | None = None,
        slot: Slot | None = None,
    ) -> None:
        self.said: list[str] = []
        self.tally = Tally(self.said.append)
        self.slot, self.stop = slot or Slot(), threading.Event()
        self.delivery = Delivery("slot", self.slot, self.tally, rules, outcome=outcome)
        self.delivery.start()

    def put(self, *ids: int) -> None:
        for n in ids:
            self.delivery.put(n, {"id": n}, self.stop)


def test_rows_arrive_in_order_and_closing_waits_for_the_last() -> None:
    bench = Bench(WAITS)
    bench.put(*range(100))
    bench.delivery.close(bench.stop)
    assert bench.slot.rows == list(range(100))
    assert (bench.tally.dropped, bench.tally.lost) == (0, 0)


def test_behind_a_pull_source_a_full_queue_makes_the_caller_wait_and_drops_nothing() -> None:
    bench = Bench(WAITS)
    bench.slot.gate.clear()
    caller = threading.Thread(target=bench.put, args=range(50))
    caller.start()
    caller.join(0.2)
    assert caller.is_alive()
    bench.slot.gate.set()
    caller.join(10)
    bench.delivery.close(bench.stop)
    assert bench.slot.rows == list(range(50))


def test_behind_a_live_source_the_oldest_rows_go_and_are_counted() -> None:
    bench = Bench(LIVE)
    bench.slot.gate.clear()
    bench.put(0)
    assert bench.slot.entered.wait(10)
    bench.put(*range(1, 50))
    bench.slot.gate.set()
    bench.delivery.close(bench.stop)
    assert bench.slot.rows == [0, 46, 47, 48, 49]
    assert "dropped 45 (slot: queue full 45)" in bench.tally.summary()


def test_what_may_pass_is_tried_again_and_written_once() -> None:
    bench = Bench(DeliveryRules(wait=True))
    bench.slot.faults = [OSError(28, "No space left on device", "answers"), UnavailableError("away")]
    bench.put(1, 2, 3)
    bench.delivery.close(bench.stop)
    assert bench.slot.rows == [1, 2, 3]
    assert bench.said == ["slot: answers: No space left on device; trying again"]
    assert bench.tally.lost == 0


def test_behind_a_pull_source_a_sink_that_stays_broken_is_given_up_and_the_rest_is_counted() -> None:
    bench = Bench(WAITS)
    bench.slot.faults = [OSError(28, "No space left on device")] * 1000
    bench.put(1, 2, 3)
    assert wait_until(lambda: bench.delivery.broken is not None, Deadline.after(10))
    bench.put(4, 5, 6, 7, 8)  # nobody waits for it any more
    bench.delivery.close(bench.stop)
    assert bench.tally.lost == 8
    assert "lost 8 (slot 8)" in bench.tally.summary()


def test_behind_a_live_source_it_is_tried_for_as_long_as_the_stream_runs() -> None:
    bench = Bench(DeliveryRules(wait=False, capacity=4, give_up_s=0.0))
    bench.slot.faults = [UnavailableError("away")] * 3
    bench.put(1)
    assert wait_until(lambda: bench.slot.rows == [1], Deadline.after(10))
    bench.delivery.close(bench.stop)
    assert bench.delivery.broken is None


def test_rows_that_are_refused_are_lost_and_the_others_go_on() -> None:
    bench = Bench(WAITS)
    bench.slot.gate.clear()
    bench.put(0)
    assert bench.slot.entered.wait(10)
    bench.put(1, 2, 3)
    bench.slot.faults = [RowsRefusedError(1, "no")]
    bench.slot.gate.set()
    bench.delivery.close(bench.stop)
    assert bench.slot.rows == [1, 2, 3]
    assert bench.tally.lost == 1


@pytest.mark.parametrize("where", ["inside the sink", "between two tries"])
def test_a_sink_that_hangs_at_the_end_is_left_and_its_rows_are_counted(where: str) -> None:
    bench = Bench(DeliveryRules(wait=True, give_up_s=3600))
    if where == "inside the sink":
        bench.slot.gate.clear()
    else:
        bench.slot.faults = [UnavailableError("away")] * 1000
    bench.put(1)
    assert bench.slot.entered.wait(10)
    bench.put(2, 3)
    bench.stop.set()
    bench.delivery.close(bench.stop, drain_s=0.2)
    assert bench.tally.lost == 3
    bench.slot.gate.set()


class LateSlot(Slot):
    """One that hears of a refusal after it took the row."""

    def take_refused(self) -> dict[int, str]:
        return dict.fromkeys((2, 3), "not authorized") if len(self.rows) == 4 else {}


def test_a_row_that_was_refused_after_it_was_taken_is_lost_and_not_settled() -> None:
    told: list[tuple[int, bool]] = []
    bench = Bench(WAITS, lambda number, safe: told.append((number, safe)), LateSlot())
    bench.put(11, 12, 13, 14)
    bench.delivery.close(bench.stop)
    assert sorted(told) == [(11, True), (12, False), (13, False), (14, True)]
    assert bench.tally.lost == 2
    assert bench.said == ["2 answers lost: slot: not authorized (further ones are only counted)"]


def test_a_broken_pipe_is_given_up_at_once() -> None:
    bench = Bench(DeliveryRules(wait=True, give_up_s=3600))
    bench.slot.faults = [BrokenPipeError()]
    bench.put(1)
    assert wait_until(lambda: isinstance(bench.delivery.broken, BrokenPipeError), Deadline.after(10))
    bench.delivery.close(bench.stop)
    assert bench.tally.lost == 1


class PickySlot(Slot):
    """One that fails on row 3, in a way that nobody thought of."""

    def write(self, rows: Sequence[Row]) -> int:
        if any(row["id"] == 3 for row in rows):
            raise ZeroDivisionError("bug")
        return super().write(rows)


def test_a_fault_nobody_thought_of_costs_its_row_and_the_sink_goes_on() -> None:
    bench = Bench(DeliveryRules(wait=True), slot=PickySlot())
    bench.put(*range(10))
    bench.delivery.close(bench.stop)
    assert bench.slot.rows == [n for n in range(10) if n != 3]
    assert bench.tally.lost == 1
    assert bench.said == ["1 answers lost: slot: ZeroDivisionError: bug (further ones are only counted)"]


def test_a_sample_is_settled_when_its_answer_is_safe_in_every_sink() -> None:
    settled: list[int] = []
    settlement = Settlement(2, settled.append)
    one, two = (Bench(WAITS, settlement.outcome) for _ in range(2))
    two.slot.hold_safe = True
    for token in (7, 8):
        number = settlement.begin(token)
        one.put(number)
        two.put(number)
    one.delivery.close(one.stop)
    assert settled == []
    two.delivery.close(two.stop)
    assert settled == [7, 8]


def test_a_sample_whose_answer_was_lost_is_not_settled() -> None:
    settled: list[int] = []
    settlement = Settlement(1, settled.append)
    bench = Bench(WAITS, settlement.outcome)
    bench.slot.faults = [RowsRefusedError(1, "no")]
    bench.put(settlement.begin(7))
    assert wait_until(lambda: bench.tally.lost == 1, Deadline.after(10))
    bench.put(settlement.begin(8))
    bench.delivery.close(bench.stop)
    assert settled == [8]
