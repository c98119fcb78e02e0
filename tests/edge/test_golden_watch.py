"""The golden set at intervals: on the model that serves, in steps, between the calls of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.adapters.tflite import make_loader
from edge.backend import Interpreter
from edge.golden_run import GoldenRun
from edge.golden_watch import GoldenWatch
from edge.recorder import Recorder
from edge.results import ResultQueue, Sample
from edge.serving import HowToServe, Serving
from edge.swapping import SwapPolicy
from tests.support.fakes import TurnedClock
from tests.support.training import Bundles
from wire.errors import UnavailableError

ZEROS = np.zeros((8, 8, 1), np.float32)
HOUR_S = 3600.0


class Watched:
    """A model that serves, watched by a clock that the test turns."""

    def __init__(self, pool: int = 1, policy: SwapPolicy = SwapPolicy.AUTO) -> None:
        self.recorder, self.clock = Recorder(), TurnedClock()
        self.broken: str | None = None  # why nothing can be loaded
        how = HowToServe(self._load, pool=pool, policy=policy)
        self.serving = Serving(how, self.recorder, ResultQueue(10))
        self.failures: list[tuple[str, str]] = []
        self.watch = GoldenWatch(
            self.serving, HOUR_S, self.clock, lambda release, why: self.failures.append((release, why))
        )

    def _load(self, bundle: Path) -> Interpreter:
        if self.broken:
            raise UnavailableError(self.broken)
        return make_loader()(bundle)

    def serve(self, bundle) -> None:  # type: ignore[no-untyped-def]
        self.serving.prepare(bundle)
        self.serving.swap()

    def turn(self, ticks: int = 200) -> None:
        for _ in range(ticks):
            self.watch.tick()

    def counted(self) -> tuple[int, int]:
        counters = self.recorder.cut()
        return sum(c.golden_runs for c in counters), sum(c.golden_failed for c in counters)


@pytest.fixture(params=[1, 3])
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    watched = Watched(request.param)
    yield watched
    watched.serving.stop()


def test_the_golden_set_is_asked_once_an_interval_and_counts_as_no_answer(
    watched: Watched, bundles: Bundles
) -> None:
    watched.serve(bundles.two)
    watched.turn()
    assert watched.counted() == (0, 0)
    for _ in range(2):
        watched.clock.turn(HOUR_S)
        watched.turn()
    counters = watched.recorder.cut()
    assert [(c.golden_runs, c.golden_failed, c.inferences) for c in counters] == [(2, 0, 0)]
    assert watched.failures == []


def test_a_step_makes_one_call_at_most(bundles: Bundles) -> None:
    watched = Watched()
    watched.serve(bundles.two)
    run = watched.serving.begin_self_test()
    assert isinstance(run, GoldenRun)
    model = watched.serving.runtime.model
    assert model
    steps = 1
    while watched.serving.step_self_test(run) is None:
        steps += 1
        assert model._idle.qsize() == 1  # it was given back
    assert model.manifest
    assert steps == model.manifest.golden.count
    watched.serving.stop()


def test_a_failure_is_counted_and_told_and_the_model_loaded_anew(watched: Watched, bundles: Bundles) -> None:
    watched.serve(bundles.wrong)
    before = watched.serving.runtime.model
    watched.clock.turn(HOUR_S)
    watched.turn()
    assert watched.counted() == (1, 1)
    ((release, why),) = watched.failures
    assert release == watched.serving.release
    assert "golden outputs differ" in why
    assert watched.serving.runtime.model is not before


def test_a_model_that_was_unloaded_and_cannot_be_loaded_anew_is_tried_again(bundles: Bundles) -> None:
    watched = Watched(policy=SwapPolicy.MEMORY)
    watched.serve(bundles.wrong)
    release = watched.serving.release
    watched.broken = "no process can be started now"
    watched.clock.turn(HOUR_S)
    watched.turn()
    assert watched.serving.release is None
    watched.broken = None
    watched.turn()
    assert watched.serving.release is None  # not at once: it would be tried ten times a second
    watched.clock.turn(61.0)
    watched.turn(1)
    assert watched.serving.release == release
    assert watched.serving.answer(Sample("1", ZEROS))
    assert [c.inferences for c in watched.recorder.cut()] == [1]
    watched.serving.stop()


def test_a_candidate_is_not_unloaded_to_load_a_model_anew(bundles: Bundles) -> None:
    watched = Watched(policy=SwapPolicy.AVAILABILITY)
    watched.serve(bundles.wrong)
    watched.serving.prepare(bundles.two)
    watched.serving._how = replace(watched.serving._how, policy=SwapPolicy.MEMORY)  # memory became short
    watched.clock.turn(HOUR_S)
    watched.turn()
    assert watched.serving.release == "digits/4"
    watched.serving.swap()
    assert watched.serving.release == "digits/2"
    watched.serving.stop()


def test_a_run_that_a_swap_ends_says_nothing_about_either_model(watched: Watched, bundles: Bundles) -> None:
    watched.serve(bundles.wrong)
    watched.clock.turn(HOUR_S)
    watched.turn(1)
    watched.serve(bundles.two)
    watched.serving.commit()
    watched.turn()
    assert (watched.counted(), watched.failures) == ((0, 0), [])
    watched.clock.turn(61.0)
    watched.turn()
    assert watched.counted() == (1, 0)


def test_nothing_is_asked_where_nothing_serves_or_nobody_wishes_it(
    watched: Watched, bundles: Bundles
) -> None:
    watched.clock.turn(HOUR_S)
    watched.turn()
    off = GoldenWatch(watched.serving, 0.0, watched.clock, lambda release, why: None)
    watched.serve(bundles.two)
    off.tick()
    assert watched.counted() == (0, 0)


def test_a_test_comes_to_its_end_beside_a_loop_that_never_sleeps(bundles: Bundles) -> None:
    watched, stop = Watched(), threading.Event()
    watched.serve(bundles.two)

    def answer() -> None:
        while not stop.is_set():
            watched.serving.answer(Sample("1", ZEROS))

    loop = threading.Thread(target=answer)
    loop.start()
    try:
        watched.clock.turn(HOUR_S)
        watched.turn(400)
    finally:
        stop.set()
        loop.join()
    assert watched.counted() == (1, 0)
    watched.serving.stop()
