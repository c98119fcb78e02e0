"""A model on probation goes back for a reason, and never for noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.golden import Verdict
from edge.probation import PROBATION_INFERENCES, PROBATION_S, SELF_TEST_EVERY_S, Outcome, Probation, median
from tests.support.fakes import ScriptedServing, TurnedClock

NEW = "digits/2"
OFF = Verdict(False, "golden outputs differ")
BUSY = Verdict(False, "all 1 interpreters are busy", conclusive=False)


class Watch:
    """A probation with the clock in the test's hand."""

    def __init__(self, usual_us: float | None = 2000.0, limit: float = 5.0) -> None:
        self.serving, self.clock = ScriptedServing(), TurnedClock()
        self.probation = Probation(self.serving, NEW, self.clock, usual_us=usual_us, limit=limit)

    def until_end(self, *, turns: int = 1000) -> Outcome:
        for _ in range(turns):
            outcome = self.probation.step()
            if outcome is not None:
                return outcome
            self.clock.turn(0.5)
        raise AssertionError("no outcome")


def test_enough_good_answers_end_it_well() -> None:
    watch = Watch()
    watch.serving.answer(NEW, PROBATION_INFERENCES, 2000.0)
    assert watch.until_end() == Outcome(True, "50 inferences without an error")


def test_a_model_that_nobody_asks_is_trusted_in_time() -> None:
    watch = Watch()
    before_s = watch.clock.now_s
    assert watch.until_end().healthy
    assert watch.clock.now_s - before_s == pytest.approx(PROBATION_S, abs=1)


def test_one_error_sends_it_back() -> None:
    watch = Watch()
    watch.serving.answer(NEW, 9, 2000.0)
    watch.serving.errors = 1
    assert watch.until_end() == Outcome(False, "1 of 10 inferences failed")


@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_a_golden_set_that_is_no_longer_answered_sends_it_back(after_s: float) -> None:
    watch = Watch()
    if after_s:
        assert watch.probation.step() is None
        watch.clock.turn(SELF_TEST_EVERY_S)
    watch.serving.tested = OFF
    assert watch.until_end() == Outcome(False, "self-test: golden outputs differ")


def test_it_is_tested_once_more_before_it_is_trusted() -> None:
    watch = Watch()
    assert watch.probation.step() is None
    watch.serving.answer(NEW, PROBATION_INFERENCES, 2000.0)
    watch.serving.tested = OFF
    assert not watch.until_end().healthy


def test_a_self_test_that_cannot_be_made_is_repeated_and_at_last_missed() -> None:
    watch = Watch()
    watch.serving.tested = BUSY
    watch.serving.answer(NEW, PROBATION_INFERENCES, 2000.0)
    for _ in range(100):
        assert watch.probation.step() is None
        watch.clock.turn(0.5)
    watch.serving.tested = Verdict(True, "fine")
    assert watch.until_end().healthy
    watch = Watch()
    watch.serving.tested = BUSY
    assert watch.until_end() == Outcome(False, f"missed its self-test: {BUSY.reason}")


def test_a_model_that_is_many_times_slower_goes_back() -> None:
    watch = Watch(usual_us=2000.0, limit=5.0)
    watch.serving.answer(NEW, PROBATION_INFERENCES, 10_500.0)
    outcome = watch.until_end()
    assert not outcome.healthy
    assert outcome.detail.startswith("slow: half of its answers take 10")


@pytest.mark.parametrize(
    ("usual_us", "limit", "took_us", "answers"),
    [
        (2000.0, 5.0, 9500.0, 50),  # within the limit
        (100.0, 5.0, 1000.0, 50),  # ten times slower, and not by a millisecond
        (None, 5.0, 1e6, 50),  # nothing to compare with
        (2000.0, 0.0, 1e6, 50),  # not asked for
        (2000.0, 5.0, 1e6, 49),  # too few answers to say
    ],
)
def test_slowness_is_told_only_where_it_is_certain_and_matters(
    usual_us: float | None, limit: float, took_us: float, answers: int
) -> None:
    watch = Watch(usual_us, limit)
    watch.serving.answer(NEW, answers, took_us)
    assert watch.until_end().healthy


@given(st.integers(0, 2**32 - 1))
def test_noise_as_on_a_busy_board_sends_nothing_back(seed: int) -> None:
    """Lognormal latencies with a tail of tenfold outliers in a fifth of the calls, and equal models."""
    random = np.random.default_rng(seed)
    times_us = 2000.0 * random.lognormal(0.0, 0.5, 2 * PROBATION_INFERENCES)
    times_us *= np.where(random.random(len(times_us)) < 0.2, 10.0, 1.0)
    before, after = np.split(times_us, 2)
    old = ScriptedServing()
    for took_us in before:
        old.answer("digits/1", 1, float(took_us))
    watch = Watch(usual_us=median(old.latencies("digits/1")))
    for took_us in after:
        watch.serving.answer(NEW, 1, float(took_us))
    assert watch.until_end().healthy


def test_answers_from_before_the_probation_do_not_count() -> None:
    serving, clock = ScriptedServing(), TurnedClock()
    serving.answer(NEW, 1000, 50.0)
    probation = Probation(serving, NEW, clock, usual_us=2000.0, limit=5.0)
    assert probation.step() is None
    serving.answer(NEW, PROBATION_INFERENCES, 20_000.0)
    outcome = probation.step()
    assert outcome is not None
    assert not outcome.healthy
