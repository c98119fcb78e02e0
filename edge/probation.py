"""Whether a model that was just swapped in may stay: it is watched while it serves.

Rules, in the order in which they are asked:
- an answer that fails sends it back at once;
- its golden set, run between the calls of others when it begins, every SELF_TEST_EVERY_S, and before it
  is trusted: wrong outputs send it back at once. A test that cannot be made (its file cannot be read,
  every interpreter is busy) is repeated, and missed when it could not be made before the time is up;
- once it is due: a median latency of more than `limit` times the usual one, and more than SLOWER_BY_US
  above it. It is looked at once, with PROBATION_INFERENCES answers behind each of both medians: a single
  look at medians, and a generous factor, do not fire on noise. Fewer answers say nothing;
- after PROBATION_INFERENCES answers, or PROBATION_S without so many, it is trusted: also a model that
  nobody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from edge.backend import Array
from edge.golden import Verdict
from edge.lifecycle import DEADLINE_S, State
from wire.deadline import Clock, Deadline
from wire.histogram import pack, quantile

PROBATION_INFERENCES: Final = 50
PROBATION_S: Final = DEADLINE_S[State.PROBATION]
SELF_TEST_EVERY_S: Final = 30.0

#: What nobody notices is no reason to go back, however many times slower it is.
SLOWER_BY_US: Final = 1000.0

#: For so long a self-test that cannot be made is tried again after the probation should have ended.
_PATIENCE_S: Final = 60.0
_TEST_AGAIN_S: Final = 2.0


class Watched(Protocol):
    """What serves, as far as a probation looks at it (edge/serving.py)."""

    def health(self, release: str) -> tuple[int, int]: ...

    def latencies(self, release: str) -> Array: ...

    def self_test(self) -> Verdict: ...


@dataclass(frozen=True)
class Outcome:
    """How a probation ended, and why."""

    healthy: bool
    detail: str


class Probation:
    """The probation of one release, from now on."""

    def __init__(
        self, serving: Watched, release: str, clock: Clock, *, usual_us: float | None, limit: float
    ) -> None:
        """`usual_us` is the median that callers are used to (None: not known), `limit` 0 asks for none."""
        self._serving = serving
        self._release = release
        self._clock = clock
        self._usual_us = usual_us
        self._limit = limit
        self._health = serving.health(release)
        self._latencies = serving.latencies(release)
        self._end = Deadline.after(PROBATION_S, clock)
        self._test = Deadline.after(0.0, clock)
        self._missed = False

    def step(self) -> Outcome | None:
        """Look at it; return the outcome once there is one."""
        inferences, errors = self._serving.health(self._release)
        inferences, errors = inferences - self._health[0], errors - self._health[1]
        if errors:
            return Outcome(False, f"{errors} of {inferences + errors} inferences failed")
        due = inferences >= PROBATION_INFERENCES or self._end.passed
        if not self._test.passed and (self._missed or not due):
            return None
        verdict = self._serving.self_test()
        if not verdict.passed:
            return self._failed(verdict)
        self._missed = False
        self._test = Deadline.after(SELF_TEST_EVERY_S, self._clock)
        if not due:
            return None
        slow = self._slow()
        return Outcome(False, slow) if slow else Outcome(True, f"{inferences} inferences without an error")

    def _failed(self, verdict: Verdict) -> Outcome | None:
        if verdict.conclusive:
            return Outcome(False, f"self-test: {verdict.reason}")
        if self._clock() >= self._end.at_s + _PATIENCE_S:
            return Outcome(False, f"missed its self-test: {verdict.reason}")
        self._missed = True
        self._test = Deadline.after(_TEST_AGAIN_S, self._clock)
        return None

    def _slow(self) -> str | None:
        median_us = median(self._serving.latencies(self._release) - self._latencies)
        if not self._limit or median_us is None or self._usual_us is None:
            return None
        if median_us <= self._usual_us * self._limit or median_us - self._usual_us <= SLOWER_BY_US:
            return None
        return f"slow: half of its answers take {median_us:.0f} us or more, usual are {self._usual_us:.0f}"


def median(latencies: Array) -> float | None:
    """Return the median of a histogram's counts in microseconds; None of too few answers to say."""
    if int(latencies.sum()) < PROBATION_INFERENCES:
        return None
    return quantile(pack(latencies.tolist()), 0.5)
