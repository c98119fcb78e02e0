"""Serving on real models: two policies, a way back without a load, a shadow, a self-test."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.adapters.tflite import make_loader
from edge.backend import Interpreter
from edge.recorder import Recorder
from edge.results import ResultQueue, Sample
from edge.serving import HowToServe, Serving
from edge.swapping import MARGIN_BYTES, NoRoomError, SwapPolicy, keep_previous, unload_first
from tests.support.training import Bundles
from wire.errors import BundleError, ModelError

ZEROS = np.zeros((8, 8, 1), np.float32)


class CountingLoader:
    """The real loader, which remembers what it loaded and fails where the test says so."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.refuses: set[str] = set()
        self._load = make_loader()

    def __call__(self, path: Path) -> Interpreter:
        self.loads.append(path.name)
        if path.name in self.refuses:
            raise ModelError("cannot be loaded here")
        return self._load(path)


@pytest.fixture
def loader() -> CountingLoader:
    return CountingLoader()


def make(loader: CountingLoader, **how: object) -> Serving:
    return Serving(replace(HowToServe(loader), **how), Recorder(), ResultQueue(1000))  # type: ignore[arg-type]


def served(serving: Serving, *paths: Path) -> None:
    for path in paths:
        serving.prepare(path)
        serving.swap()


def test_a_rollback_to_the_model_before_loads_nothing(bundles: Bundles, loader: CountingLoader) -> None:
    serving = make(loader)
    served(serving, bundles.one, bundles.two)
    assert (serving.release, len(loader.loads)) == ("digits/2", 2)
    served(serving, bundles.one)
    assert (serving.release, len(loader.loads)) == ("digits/1", 2)
    assert serving.answer(Sample("1", ZEROS)) is not None


def test_a_committed_model_lets_go_of_the_one_before(bundles: Bundles, loader: CountingLoader) -> None:
    serving = make(loader)
    served(serving, bundles.one, bundles.two)
    serving.commit()
    served(serving, bundles.one)
    assert len(loader.loads) == 3


def test_with_little_memory_nothing_is_kept_and_the_old_model_goes_first(
    bundles: Bundles, loader: CountingLoader
) -> None:
    serving = make(loader, policy=SwapPolicy.MEMORY)
    served(serving, bundles.one)
    serving.prepare(bundles.two)
    assert serving.release is None
    serving.swap()
    served(serving, bundles.one)
    assert len(loader.loads) == 3


def test_a_candidate_that_fails_under_little_memory_brings_the_old_model_back(
    bundles: Bundles, loader: CountingLoader
) -> None:
    serving = make(loader, policy=SwapPolicy.MEMORY)
    served(serving, bundles.one)
    loader.refuses.add(bundles.two.name)
    with pytest.raises(ModelError, match="cannot be loaded here"):
        serving.prepare(bundles.two)
    assert serving.release == "digits/1"
    assert serving.wait_ready(0)
    assert serving.answer(Sample("1", ZEROS)) is not None


def test_callers_wait_while_a_model_is_unloaded_and_lose_nothing(
    bundles: Bundles, loader: CountingLoader
) -> None:
    serving = make(loader, policy=SwapPolicy.MEMORY)
    served(serving, bundles.one)
    stop, answered, lost = threading.Event(), [], []

    def stream() -> None:
        while not stop.is_set():
            if serving.wait_ready(1.0):
                (answered if serving.answer(Sample("1", ZEROS)) else lost).append(1)

    thread = threading.Thread(target=stream)
    thread.start()
    for n in range(6):
        served(serving, (bundles.two, bundles.one)[n % 2])
    stop.set()
    thread.join()
    assert answered
    assert lost == []


@pytest.mark.parametrize(
    ("policy", "available", "first", "keep"),
    [
        (SwapPolicy.AVAILABILITY, 0, False, False),
        (SwapPolicy.AVAILABILITY, None, False, True),
        (SwapPolicy.MEMORY, 10**12, True, False),
        (SwapPolicy.AUTO, None, False, True),
        (SwapPolicy.AUTO, 10**12, False, True),
        (SwapPolicy.AUTO, 100_000_000 + MARGIN_BYTES - 1, True, True),
        (SwapPolicy.AUTO, 2 * MARGIN_BYTES - 1, True, False),
    ],
)
def test_memory_decides_what_goes_first(
    policy: SwapPolicy, available: int | None, first: bool, keep: bool
) -> None:
    assert unload_first(policy, needs_bytes=100_000_000, available_bytes=available) == first
    assert keep_previous(policy, available_bytes=available) == keep


@pytest.mark.parametrize("policy", [SwapPolicy.AVAILABILITY, SwapPolicy.AUTO])
def test_a_model_without_room_is_not_loaded_and_what_serves_goes_on(
    bundles: Bundles, loader: CountingLoader, policy: SwapPolicy
) -> None:
    serving = make(loader, policy=policy, pool=2, available_bytes=lambda: 300 * 1024**2)
    served(serving, bundles.one)
    with pytest.raises(NoRoomError, match="419430400 bytes of memory, 314572800 are available"):
        serving.prepare(bundles.two, 200 * 1024**2)  # for one interpreter
    assert bundles.two.name not in loader.loads
    assert serving.answer(Sample("1", ZEROS)) is not None
    serving.prepare(bundles.two, 50 * 1024**2)


def test_a_caller_with_a_time_limit_is_not_kept_longer(bundles: Bundles, loader: CountingLoader) -> None:
    serving = make(loader, policy=SwapPolicy.MEMORY)
    served(serving, bundles.one)
    loader.refuses.update({bundles.one.name, bundles.two.name})  # nothing can be loaded any more
    told: list[float] = []

    def ask() -> None:
        start_s = time.monotonic()
        with suppress(ModelError):
            serving.predict(ZEROS, timeout_s=20.0)
        told.append(time.monotonic() - start_s)

    with pytest.raises(ModelError, match="cannot be loaded here"):
        serving.prepare(bundles.two)
    ask()
    assert told[0] < 10.0  # told at once that there is nothing to wait for


# --- shadow ------------------------------------------------------------------------------------


def test_a_shadow_pairs_its_answers_with_those_given_and_is_counted_nowhere(
    bundles: Bundles, loader: CountingLoader
) -> None:
    serving = make(loader, shadow_share=1.0, shadow_pairs=5)
    served(serving, bundles.one)
    assert serving.begin_shadow(bundles.two)
    rng = np.random.default_rng(1)
    for n in range(6):
        serving.answer(Sample(str(n), rng.random((8, 8, 1)).astype(np.float32), truth=0))
    pairs = serving.shadow_step()
    assert serving.shadow_done()
    assert (pairs.pairs, pairs.labelled) == (6, 6)
    assert str(pairs).startswith("pairs=6 agreeing=")
    assert serving.health("digits/1") == (6, 0)
    assert serving.health("digits/2") == (0, 0)
    served(serving, bundles.two)
    assert len(loader.loads) == 2
    serving.answer(Sample("7", ZEROS))
    assert serving.health("digits/2") == (1, 0)


def test_no_shadow_without_a_wish_a_model_or_room(bundles: Bundles, loader: CountingLoader) -> None:
    assert not make(loader, shadow_share=1.0).begin_shadow(bundles.one)
    for how in ({}, {"shadow_share": 1.0, "policy": SwapPolicy.MEMORY}):
        serving = make(loader, **how)
        served(serving, bundles.one)
        assert not serving.begin_shadow(bundles.two)


# --- self-test ---------------------------------------------------------------------------------


def test_a_model_that_answers_its_golden_set_passes_its_self_test(
    bundles: Bundles, loader: CountingLoader
) -> None:
    serving = make(loader)
    served(serving, bundles.two)
    assert serving.self_test().passed


def test_one_bad_interpreter_of_a_pool_fails_the_self_test(bundles: Bundles, loader: CountingLoader) -> None:
    serving = make(loader, pool=3)
    served(serving, bundles.two)
    assert serving.self_test().passed
    model = serving.runtime.model
    assert model is not None
    worker = model._idle.get()  # a fault of a kernel cannot be had to order
    model._idle.put((*worker[:4], lambda row: tuple(0 * one for one in worker[4](row)), worker[5]))
    assert "golden outputs differ" in serving.self_test().reason


def test_answers_over_http_are_shadowed_and_looked_at(bundles: Bundles, loader: CountingLoader) -> None:
    serving = make(loader, shadow_share=1.0, shadow_pairs=1)
    served(serving, bundles.one)
    assert serving.begin_shadow(bundles.two)
    serving.observe(ZEROS, serving.predict(ZEROS), "7")
    assert serving.shadow_step().pairs == 1
    assert [one.prediction.release for one in serving.take_observed()] == ["digits/1"]
    assert serving.take_observed() == []


def test_a_model_whose_answers_are_not_its_golden_ones_fails_it_and_is_replaced(
    bundles: Bundles, loader: CountingLoader
) -> None:
    serving = make(loader)
    served(serving, bundles.wrong)
    verdict = serving.self_test()
    assert not verdict.passed
    assert "golden outputs differ" in verdict.reason
    before = serving.runtime.model
    serving.reload()
    assert serving.runtime.model is not before
    assert serving.answer(Sample("1", ZEROS)) is not None


def test_a_bundle_that_is_gone_cannot_be_prepared(
    bundles: Bundles, loader: CountingLoader, tmp_path: Path
) -> None:
    serving = make(loader)
    served(serving, bundles.one)
    with pytest.raises(BundleError):
        serving.prepare(tmp_path / "gone.bundle")
    assert serving.answer(Sample("1", ZEROS)) is not None
