"""What answers callers: the runtime, with everything counted that it does, and how its model changes.

Rules:
- the next model is loaded beside the one that serves, unless memory forbids it (edge/swapping.py);
- the previous model stays loaded until the new one is trusted, so that a rollback loads nothing;
- a shadow sees a share of the live inputs, on the control thread: a caller never waits for it.

Threads: `answer` runs on any thread that has inputs, the rest on the control thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.backend import Array, Loader
from edge.golden import Verdict, read_golden
from edge.golden_run import GoldenRun
from edge.loaded import LoadedModel
from edge.loading import load_bundle, read_bundle
from edge.online.samples import check_finite
from edge.recorder import Recorder
from edge.results import Result, ResultQueue, Sample
from edge.runtime import Prediction, Predictions, Runtime
from edge.scoring import scoring_for
from edge.shadow import Pairs
from edge.swapping import NoRoomError, SwapPolicy, keep_previous, lacks_room, unload_first
from edge.values import values_for
from wire.deadline import Deadline
from wire.errors import BundleError, EdgeflockError, InputError, ModelError, UnavailableError

log = logging.getLogger(__name__)

_NO_RELEASE: Final = "none"
#: A caller waits so long for a model that is being loaded; systemd's watchdog asks for a sign each 60 s.
_LONGEST_WAIT_S: Final = 30.0
_SHADOW_QUEUE: Final = 64
_SHADOW_STEP: Final = 8
_OBSERVED: Final = 256
_SELF_TEST_ROWS: Final = 8
#: Before a call, while a self-test waits: who never sleeps would take each interpreter that it gives back.
_GIVE_WAY_S: Final = 0.0002
#: A step of a self-test waits so long for an interpreter.
_SELF_TEST_S: Final = 0.1


@dataclass(frozen=True)
class HowToServe:
    """How models are loaded and changed.

    `pool` interpreters answer side by side. A candidate shadows the serving model on `shadow_share` of
    the live inputs (0: none) until there are `shadow_pairs` of them. `available_bytes` says how much
    memory is free, None where that is not known. `overhead_bytes` is what an interpreter takes beside
    its model: a process, where it has one of its own.
    """

    loader: Loader
    pool: int = 1
    policy: SwapPolicy = SwapPolicy.AUTO
    shadow_share: float = 0.0
    shadow_pairs: int = 200
    overhead_bytes: int = 0
    available_bytes: Callable[[], int | None] = lambda: None
    random: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True)
class _Held:
    """A loaded model and the bundle that it came from."""

    path: Path
    model: LoadedModel


class Serving:
    """The runtime with its recorder and its queue of results."""

    def __init__(self, how: HowToServe, recorder: Recorder, results: ResultQueue) -> None:
        self._how = how
        self._recorder = recorder
        self._results = results
        self.runtime = Runtime()
        self._active: _Held | None = None
        self._previous: _Held | None = None
        self._candidate: _Held | None = None
        self._fallen: Path | None = None
        self._shadow: deque[tuple[Sample, Prediction]] | None = None
        self._pairs = Pairs()
        self._observed = ResultQueue(_OBSERVED)
        self._ready = threading.Event()
        self._settled = threading.Event()  # not while one model is unloaded and the next is not there yet
        self._settled.set()
        self._gives_way = False
        self._gives_values = False
        self.inputs_refused = 0

    @property
    def release(self) -> str | None:
        return self.runtime.release

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a model serves; return whether one does."""
        return self._ready.wait(timeout_s)

    # --- for whoever has inputs ---------------------------------------------------------------

    def answer(self, sample: Sample, refuse: Callable[[int], None] | None = None) -> Result | None:
        """Answer one sample, count it and queue the result; None when it failed, which is counted.

        `refuse` is told the token of one that does not fit the model.
        """
        if self._gives_way:
            time.sleep(_GIVE_WAY_S)
        try:
            model = self.runtime.model
            if model is not None:
                check_finite(sample.inputs, model.inputs)
            if sample.truth is None and sample.value is not None and not self._gives_values:
                raise InputError(f"its truth, {sample.value:g}, is no class")
            prediction = self.predict(sample.inputs)
        except InputError as error:  # the source's fault: it must not count against a model on probation
            self.refused(error)
            if refuse is not None:
                refuse(sample.token)
            return None
        except ModelError as error:
            if error.release is None:  # nothing served: no meter has counted it
                self._recorder.meter(_NO_RELEASE).failed()
            return None
        return self.hand_over(sample, prediction)

    def predict(self, inputs: Any, *, timeout_s: float | None = None) -> Prediction:
        """Answer as Runtime.predict does; wait while one model was unloaded to make room for the next.

        The whole wait is bounded: by `timeout_s`, else by what a watchdog allows.
        """
        deadline = Deadline.after(_LONGEST_WAIT_S if timeout_s is None else timeout_s)
        while True:
            left_s = None if timeout_s is None else deadline.left_s
            try:
                return self.runtime.predict(inputs, timeout_s=left_s)
            except ModelError as error:
                if error.release is not None or self._settled.is_set() or deadline.passed:
                    raise
                self._settled.wait(deadline.left_s)

    def hand_over(self, sample: Sample, prediction: Prediction) -> Result:
        """Queue an answer for sinks, samples and the shadow; count it where its truth is known."""
        if sample.truth is not None or sample.value is not None or sample.tags:
            meter = self._recorder.meter(prediction.release)
            meter.judged(sample.truth, prediction.raw[0], sample.tags, sample.value)
        self._shadow_too(sample, prediction)
        result = Result(sample, prediction, time.time())
        self._results.put(result)
        return result

    def observe(
        self, inputs: Any, answer: Prediction | Predictions, identity: str, tags: tuple[str, ...] = ()
    ) -> None:
        """Take note of an answer over HTTP: for its tags, and that to a single input for samples, the shadow
        and the look at outputs."""
        if tags:
            meter = self._recorder.meter(answer.release)
            for raw in answer.raw[0] if isinstance(answer, Predictions) else answer.raw[:1]:
                meter.judged(None, raw, tags)
        if isinstance(answer, Predictions):
            return
        sample = Sample(identity, inputs, tags=tags)
        self._shadow_too(sample, answer)
        self._observed.put(Result(sample, answer, time.time()))

    def take_observed(self) -> list[Result]:
        """Return what was observed since the last time, as far as it was kept."""
        return self._observed.take_all()

    @property
    def unobserved(self) -> int:
        """How many answers since boot were given, and are in neither queue any more."""
        return self._observed.dropped + self._results.dropped

    def _shadow_too(self, sample: Sample, prediction: Prediction) -> None:
        shadow = self._shadow
        if shadow is not None and self._how.random() < self._how.shadow_share:
            shadow.append((sample, prediction))  # bounded: the oldest goes

    def refused(self, error: InputError) -> None:
        """Count an input that does not fit the model."""
        if not self.inputs_refused:
            log.warning("%s (further ones are only counted)", error)
        self.inputs_refused += 1

    # --- for the updater ----------------------------------------------------------------------

    def prepare(self, bundle: Path, needs_bytes: int = 0) -> None:
        """Have the candidate loaded and warm. Raises BundleError or ModelError; then all is as before.

        One that is loaded already, as a shadow or as the model before this one, is taken as it is.
        """
        if self._candidate is not None and self._candidate.path == bundle:
            return
        if self._previous is not None and self._previous.path == bundle:
            self._candidate, self._previous = self._previous, None
            return
        self._drop_candidate()
        needs_bytes, serves = self._all_bytes(needs_bytes), self._active
        if serves and self._goes_first(needs_bytes):
            self._settled.clear()
            self.stop()
            try:
                self._candidate = self._load_where_it_fits(bundle, needs_bytes)
            except BaseException:
                self._restore(serves.path)
                raise
        else:
            self._candidate = self._load_where_it_fits(bundle, needs_bytes)

    def swap(self) -> None:
        """Let the candidate answer from the next call on; the model before it may wait for a rollback."""
        assert self._candidate is not None, "nothing was prepared"
        self._end_shadow()
        old, new, self._candidate = self._active, self._candidate, None
        self._let_answer(new)
        self._drop_previous()
        if old is None:
            return
        if keep_previous(self._how.policy, available_bytes=self._how.available_bytes()):
            self._previous = old
        else:
            old.model.close()

    def commit(self) -> None:
        """Let go of the model before this one: it is trusted now."""
        self._drop_previous()

    def stop(self) -> None:
        """Serve nothing until the next swap, and let go of everything that is loaded."""
        self._ready.clear()
        self.runtime.exchange(None)
        active, self._active, self._fallen = self._active, None, None
        if active is not None:
            active.model.close()
        self._drop_candidate()
        self._drop_previous()

    def health(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors) of `release` since boot."""
        return self._recorder.since_boot(release)

    def latencies(self, release: str) -> Array:
        """Return how many calls of `release` since boot fell into each bucket of wire.histogram."""
        return self._recorder.meter(release).latency_counts()

    # --- the shadow ---------------------------------------------------------------------------

    def begin_shadow(self, bundle: Path, needs_bytes: int = 0) -> bool:
        """Load `bundle` beside the serving model and give it live inputs; return whether that is wished.

        Not without a model that serves, not for one that keeps state, and not where both have no room.
        Raises BundleError or ModelError.
        """
        how, active = self._how, self._active
        if not how.shadow_share or active is None or active.model.stateful:
            return False
        all_bytes = self._all_bytes(needs_bytes)
        if self._goes_first(all_bytes) or self._lacks_room(all_bytes):
            return False
        self.prepare(bundle, needs_bytes)
        self._pairs = Pairs()
        self._shadow = deque(maxlen=_SHADOW_QUEUE)
        return True

    def shadow_step(self) -> Pairs:
        """Give the candidate some of what waits for it; raise ModelError when it fails."""
        assert self._candidate is not None, "nothing was prepared"
        assert self._shadow is not None, "nothing shadows"
        for _ in range(min(_SHADOW_STEP, len(self._shadow))):
            sample, old = self._shadow.popleft()
            try:
                new = self._candidate.model.run(sample.inputs)
            except InputError as error:  # the serving model took it
                raise ModelError(f"the candidate refuses a live input: {error}") from error
            self._pairs = self._pairs.plus(old, new, sample.truth)
        return self._pairs

    def shadow_done(self) -> bool:
        """Return whether there are as many pairs as were wished."""
        return self._pairs.pairs >= self._how.shadow_pairs

    def drop_candidate(self) -> None:
        """Let go of a candidate that is not to be swapped in; who waits for it need not any more."""
        self._drop_candidate()
        self._settled.set()

    # --- the self-test ------------------------------------------------------------------------

    def self_test(self) -> Verdict:
        """Run some of the golden set on each interpreter, between the calls of others; count the verdict.

        A stateful model is left alone: its state is its callers'.
        """
        run = self.begin_self_test(_SELF_TEST_ROWS)
        while isinstance(run, GoldenRun):
            verdict = self.step_self_test(run)
            if verdict is not None:
                return verdict
            time.sleep(_GIVE_WAY_S)  # else who held an interpreter would be given the same again
        return run

    def step_self_test(self, run: GoldenRun) -> Verdict | None:
        """Go on with a run by one call at most; return the verdict at its end, which is counted."""
        self._gives_way = True
        try:
            verdict = run.step(_SELF_TEST_S)
        finally:
            self._gives_way = False
        if verdict is not None and verdict.conclusive:
            self._recorder.meter(run.release).tested(passed=verdict.passed)
        return verdict

    def begin_self_test(self, rows: int | None = None) -> GoldenRun | Verdict:
        """Return a run of the golden set (of its first `rows`), or why there is none."""
        active = self._active
        if active is None or active.model.stateful:
            return Verdict(True, "nothing to test")
        try:
            bundle = read_bundle(active.path)
            golden = read_golden(bundle.golden, bundle.manifest.golden)
        except BundleError as error:  # the disk's fault, and no word about the model
            return Verdict(False, str(error), conclusive=False)
        return GoldenRun(active.model, golden, bundle.manifest.golden, rows)

    @property
    def fallen(self) -> bool:
        """Whether a model was unloaded by `reload`, and could not be loaded again: another call may do it."""
        return self._fallen is not None

    def reload(self) -> None:
        """Put a fresh interpreter in the place of the one that serves, or should.

        Raises BundleError or ModelError; where there was no room for two, nothing serves then.
        """
        old, path = self._active, self._active.path if self._active else self._fallen
        if path is None:
            return
        if old is not None and self._goes_first(0):  # callers wait, as in a swap
            if self._candidate is not None:
                raise ModelError(f"{old.model.release} has no room beside a candidate")
            self._settled.clear()
            self.stop()
            self._fallen = path
        try:
            fresh = self._load(path)
        except BaseException:
            self._settled.set()
            raise
        self._let_answer(fresh)
        if old is not None:
            old.model.close()

    def _let_answer(self, held: _Held) -> None:
        # Only from here on: what it answered as a shadow, or in its warm-up, was no answer to anybody.
        model = held.model
        model.meter = self._recorder.meter(model.release)
        reader = values_for(model.outputs, model.manifest)
        model.meter.count_answers(scoring_for(model.outputs, model.manifest), reader)
        self._gives_values = reader is not None
        self._active, self._fallen = held, None
        self.runtime.exchange(model)
        self._settled.set()
        self._ready.set()

    # --- small things -------------------------------------------------------------------------

    def _all_bytes(self, needs_bytes: int) -> int:
        """Return what all interpreters of a model need that was measured with one; 0 where it was not."""
        return needs_bytes and (needs_bytes + self._how.overhead_bytes) * self._how.pool

    def _goes_first(self, needs_bytes: int) -> bool:
        how = self._how
        return unload_first(how.policy, needs_bytes=needs_bytes, available_bytes=how.available_bytes())

    def _load_where_it_fits(self, path: Path, needs_bytes: int) -> _Held:
        if self._lacks_room(needs_bytes):
            have = self._how.available_bytes()
            raise NoRoomError(f"the model needs {needs_bytes} bytes of memory, {have} are available")
        return self._load(path)

    def _lacks_room(self, needs_bytes: int) -> bool:
        how = self._how
        return lacks_room(how.policy, needs_bytes=needs_bytes, available_bytes=how.available_bytes())

    def _load(self, path: Path) -> _Held:
        try:
            return _Held(path, load_bundle(path, self._how.loader, pool=self._how.pool))
        except UnavailableError as error:  # no process can be started now: nothing is wrong with the bundle
            raise BundleError(str(error)) from error

    def _restore(self, path: Path) -> None:
        try:
            self._candidate = self._load(path)
        except EdgeflockError as error:
            self._settled.set()
            log.error("the model before cannot be loaded again: %s", error)
        else:
            self.swap()

    def _end_shadow(self) -> None:
        self._shadow = None

    def _drop_candidate(self) -> None:
        self._end_shadow()
        if self._candidate is not None:
            self._candidate.model.close()
            self._candidate = None

    def _drop_previous(self) -> None:
        if self._previous is not None:
            self._previous.model.close()
            self._previous = None
