"""An output that stays the same while the inputs change: noticed, tested, and put right."""

from __future__ import annotations

import numpy as np

from edge.golden import Verdict
from edge.prediction import Prediction
from edge.results import Result, Sample
from edge.selfcheck import SelfCheck
from edge.stuck import FIRST_SUSPICION, StuckWatch
from tests.support.fakes import ScriptedServing, prediction


def results(count: int, *, same_input: bool = False, answer: Prediction | None = None) -> list[Result]:
    given = [np.full(4, 0 if same_input else n, np.float32) for n in range(count)]
    return [Result(Sample(str(n), x), answer or prediction(best=n % 3), 0.0) for n, x in enumerate(given)]


def suspicions(watch: StuckWatch, stream: list[Result]) -> int:
    return sum(watch.offer(result) for result in stream)


def test_answers_that_change_raise_no_suspicion() -> None:
    changing = [Result(r.sample, prediction(confidence=n / 1000), 0.0) for n, r in enumerate(results(1000))]
    assert suspicions(StuckWatch(), changing) == 0


def test_one_stuck_interpreter_in_a_pool_is_suspected_though_the_others_are_well() -> None:
    stream = [
        Result(r.sample, prediction() if n % 4 == 0 else prediction(confidence=n / 1000), 0.0)
        for n, r in enumerate(results(5 * FIRST_SUSPICION))
    ]
    assert suspicions(StuckWatch(), stream) == 1


def test_one_answer_to_one_input_raises_no_suspicion() -> None:
    assert suspicions(StuckWatch(), results(1000, same_input=True, answer=prediction())) == 0


def test_one_answer_to_many_inputs_raises_one_and_then_less_easily() -> None:
    watch = StuckWatch()
    assert suspicions(watch, results(FIRST_SUSPICION, answer=prediction())) == 0
    assert suspicions(watch, results(2, answer=prediction())) == 1
    assert suspicions(watch, results(5 * FIRST_SUSPICION, answer=prediction())) == 0
    assert suspicions(watch, results(6 * FIRST_SUSPICION, answer=prediction())) == 1


def test_another_release_begins_anew() -> None:
    watch = StuckWatch()
    half = FIRST_SUSPICION // 2 + 10
    assert suspicions(watch, results(half, answer=prediction("digits/1"))) == 0
    assert suspicions(watch, results(half, answer=prediction("digits/2"))) == 0


def test_a_good_model_that_sees_one_class_is_left_alone() -> None:
    serving = ScriptedServing()
    check = SelfCheck(serving)
    check.offer(results(FIRST_SUSPICION + 10, answer=prediction()))
    assert (check.found, serving.reloads) == (0, 0)


def test_a_stuck_model_is_counted_and_loaded_anew() -> None:
    serving = ScriptedServing(tested=Verdict(False, "golden outputs differ by 0.9"))
    check = SelfCheck(serving)
    check.offer(results(FIRST_SUSPICION + 10, answer=prediction()))
    assert (check.found, serving.reloads) == (1, 1)
