"""The thread of one sink: a slow or broken sink costs nobody else.

Rules:
- a sink writes on a thread of its own, in batches of whatever has come meanwhile;
- behind a pull source a full queue makes the caller wait; behind a live one the oldest row is dropped
  and counted;
- what fails is tried again, each time later. Behind a live source for as long as the stream runs;
  behind a pull source for GIVE_UP_S, after which the sink is `broken` and the stream ends: what was
  not read yet is still where it was;
- rows that a sink refuses for good, at once or after it took them, are counted as lost and not tried
  again;
- an error that nobody thought of has the batch offered row by row, and costs the row that has it;
- a row is *safe* once a kill of this process cannot take it. The sink says when.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from edge.online.answer_rows import Row
from edge.online.tally import Tally
from wire.deadline import Clock, Deadline
from wire.errors import DataError, UnavailableError

log = logging.getLogger(__name__)

GIVE_UP_S: Final = 30.0

#: How long the sinks have for what is queued once the stream was told to stop.
DRAIN_S: Final = 10.0

_CAPACITY: Final = 4096
_BATCH: Final = 512
_IDLE_S: Final = 0.25

#: So long rows gather after a batch: the first of a stream goes at once, a flood does not wake us for each.
_GATHER_S: Final = 0.005

_FIRST_RETRY_S: Final = 0.25
_LONGEST_RETRY_S: Final = 15.0


class RowsRefusedError(DataError):
    """The first `count` rows will never be taken, however often they are offered."""

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(reason)
        self.count = count


class RowSink(Protocol):
    """Where rows go. Opened before it is handed over; used by one thread."""

    def write(self, rows: Sequence[Row]) -> int:
        """Take rows, oldest first, and return how many were taken; the rest is offered again.

        Raises OSError or UnavailableError, with none taken, for what may pass (a full disk, no network),
        and RowsRefusedError for rows that it will never take.
        """

    def tick(self) -> None:
        """Do what is due with time; called a few times a second while no rows come."""

    @property
    def safe(self) -> int:
        """How many of the rows taken so far, oldest first, a kill cannot take any more."""

    def close(self) -> None:
        """Make everything safe and free what is held."""


@runtime_checkable
class LateRefusals(Protocol):
    """What a sink has besides that hears of a refusal only after it took the row."""

    def take_refused(self) -> Mapping[int, str]:
        """Return why rows among the safe ones are lost, by their place among all taken, from 1; once each."""


@dataclass(frozen=True)
class DeliveryRules:
    """`wait`: let the caller wait for a full queue (pull sources) instead of dropping the oldest row."""

    wait: bool
    capacity: int = _CAPACITY
    give_up_s: float = GIVE_UP_S


#: Called with a row's number and whether it is safe (or lost).
Outcome = Callable[[int, bool], None]


class Delivery:
    """One sink with its queue and its thread. `put` and `close` belong to one other thread."""

    def __init__(
        self,
        name: str,
        sink: RowSink,
        tally: Tally,
        rules: DeliveryRules,
        *,
        outcome: Outcome | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self._sink = sink
        self._tally = tally
        self._rules = rules
        self._outcome = outcome
        self._clock = clock
        self._rows: deque[tuple[int, Row]] = deque()
        self._unsafe: deque[int] = deque()  # numbers of rows that were taken and are not safe yet
        self._safe = 0
        self._refused: dict[int, str] = {}
        self._in_hand: list[tuple[int, Row]] = []
        self._at_once = _BATCH
        self._faulty = False
        self._changed = threading.Condition()
        self._closing = False
        self._last_batch_s = -_GATHER_S
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self.broken: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def put(self, number: int, row: Row, stop: threading.Event | None = None) -> None:
        """Queue one row. Waits for room behind a pull source, unless `stop` is set or the sink is broken."""
        dropped: int | None = None
        with self._changed:
            while self._full and self._rules.wait and not self.broken and not (stop and stop.is_set()):
                self._changed.wait(_IDLE_S)
            if self._full and not self._rules.wait:
                dropped, _ = self._rows.popleft()
            self._rows.append((number, row))
            if len(self._rows) in (1, _BATCH, self._rules.capacity):  # in between nobody needs to be woken
                self._changed.notify_all()
        if dropped is not None:
            self._tally.drop_row(f"{self.name}: queue full")
            self._tell(dropped, safe=False)

    def finish(self) -> None:
        """Say that no more rows will come; does not wait."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, stop: threading.Event, drain_s: float = DRAIN_S) -> None:
        """Deliver what is queued, close the sink, end the thread.

        Waits as long as it takes, or `drain_s` once `stop` is set; then the rest is counted as lost.
        """
        self.finish()
        deadline: Deadline | None = None
        while self._thread.is_alive():
            if stop.is_set() and deadline is None:
                deadline = Deadline.after(drain_s, self._clock)
            if deadline and deadline.passed:
                self._abandoned.set()
                self._thread.join(1.0)  # it may hang inside the sink: then it dies with the process
                break
            self._thread.join(0.05)
        self._lose_rest("not delivered before the end")

    # --- its own thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                if batch:
                    self._deliver(batch)
                else:
                    self._attempt(self._tick)
                self._note_safe()
            self._attempt(self._sink.close)
            self._note_safe()
        except Exception as error:
            log.exception("the sink %s failed", self.name)
            self._break(error)

    @property
    def _full(self) -> bool:
        return len(self._rows) >= self._rules.capacity

    def _next_batch(self) -> list[tuple[int, Row]] | None:
        """Return the oldest rows, an empty list after a while without any, or None at the end."""
        with self._changed:
            if not self._rows and not self._closing:
                self._changed.wait(_IDLE_S)
            gather = Deadline(self._last_batch_s + _GATHER_S, self._clock)
            while 0 < len(self._rows) < min(_BATCH, self._rules.capacity) and not self._closing:
                if gather.passed:
                    break
                self._changed.wait(gather.left_s)
            self._last_batch_s = self._clock()
            if self._abandoned.is_set() or self.broken or (self._closing and not self._rows):
                return None
            count = min(_BATCH, len(self._rows))
            batch = [self._rows.popleft() for _ in range(count)]
            self._changed.notify_all()
            return batch

    def _deliver(self, batch: list[tuple[int, Row]]) -> None:
        self._in_hand, self._at_once = batch, _BATCH
        while self._in_hand:
            try:
                taken = self._persist(self._write)
            except RowsRefusedError as error:
                self._lose_first(error.count, str(error))
                continue
            except Exception as error:
                self._narrow(error)
                continue
            if taken is None:
                return  # `close` counts what is left
            self._unsafe.extend(number for number, _ in self._in_hand[:taken])
            self._in_hand = self._in_hand[taken:]

    def _write(self) -> int:
        return self._sink.write([row for _, row in self._in_hand[: self._at_once]])

    def _narrow(self, error: Exception) -> None:
        """Offer one row at a time after an unknown error; lose the one that has it."""
        if self._at_once > 1:
            self._at_once = 1
            return
        if not self._faulty:
            log.exception("the sink %s failed on a row", self.name)
        self._faulty = True
        self._lose_first(1, f"{type(error).__name__}: {_line(error)}")

    def _persist(self, action: Callable[[], int]) -> int | None:
        """Call until it takes something; None when there is no use in trying again."""
        patience_s = (
            0.0 if self.broken else self._rules.give_up_s
        )  # a broken one is closed once, not for long
        give_up = Deadline.after(patience_s, self._clock)
        pause_s = _FIRST_RETRY_S
        while not self._abandoned.is_set():
            try:
                if taken := action():
                    return taken
                error: Exception = UnavailableError("takes nothing")
            except (OSError, UnavailableError) as raised:
                error = raised
            if isinstance(error, BrokenPipeError) or ((self._rules.wait or self._closing) and give_up.passed):
                self._break(error)
                return None
            self._tally.tell(f"{self.name} fails", f"{self.name}: {_line(error)}; trying again")
            self._abandoned.wait(pause_s)
            pause_s = min(_LONGEST_RETRY_S, pause_s * 2)
        return None

    def _tick(self) -> None:
        self._sink.tick()

    def _attempt(self, action: Callable[[], None]) -> None:
        def once() -> int:
            action()
            return 1

        self._persist(once)

    def _note_safe(self) -> None:
        if isinstance(self._sink, LateRefusals):
            self._refused.update(self._sink.take_refused())
        lost, reason = [], ""
        while self._safe < self._sink.safe and self._unsafe:
            self._safe += 1
            number = self._unsafe.popleft()
            if self._safe in self._refused:
                reason = self._refused.pop(self._safe)
                lost.append(number)
            else:
                self._tell(number, safe=True)
        self._lose(lost, reason)

    def _break(self, error: BaseException) -> None:
        with self._changed:
            self.broken = error
            self._changed.notify_all()

    # --- what does not arrive -----------------------------------------------------------------

    def _lose_rest(self, reason: str) -> None:
        with self._changed:
            rest = [number for number, _ in [*self._in_hand, *self._rows]]
            self._rows.clear()
        rest += self._unsafe
        self._lose(rest, _line(self.broken) if self.broken else reason)

    def _lose_first(self, count: int, reason: str) -> None:
        gone, self._in_hand = self._in_hand[:count], self._in_hand[count:]
        self._lose([number for number, _ in gone], reason)

    def _lose(self, numbers: Sequence[int], reason: str) -> None:
        if numbers:
            self._tally.lose(self.name, len(numbers), f"{len(numbers)} answers lost: {self.name}: {reason}")
        for number in numbers:
            self._tell(number, safe=False)

    def _tell(self, number: int, *, safe: bool) -> None:
        if self._outcome is not None:
            self._outcome(number, safe)


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
