"""What belongs to one model of an agent: its store, what answers with it, its updater, its check. Wiring.

A device may have several. Each is tried, swapped, watched and rolled back by itself, and one that cannot
serve is no reason for the others not to. They share the link, the journal, the counters and the turns.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.adapters.child_trial import MEMORY_BYTES, ChildTrial
from edge.adapters.cores import shared_out
from edge.adapters.loaders import choose_loader
from edge.adapters.model_store import ModelStore
from edge.adapters.tflite import backend_version
from edge.adapters.vitals import available_bytes, total_bytes, userland
from edge.control import OwnModel
from edge.download import Download, Part
from edge.fitness import Board
from edge.golden import Verdict
from edge.golden_watch import GoldenWatch
from edge.lifecycle import DEADLINE_S, State
from edge.loading import read_bundle, release_name
from edge.pointer import committed, installed
from edge.ports import Ports
from edge.recorder import Recorder
from edge.results import ResultQueue
from edge.selfcheck import SelfCheck
from edge.serving import HowToServe, Serving
from edge.settings import ModelSettings
from edge.swapping import PROCESS_BYTES, SwapPolicy
from edge.turns import Turns
from edge.updater import Updater
from wire.deadline import Clock, Deadline
from wire.errors import EdgeflockError, ModelError
from wire.messages import Blob, Event

log = logging.getLogger(__name__)

_RESULTS: Final = 4096
_DETAIL: Final = 500


@dataclass(frozen=True)
class Shared:
    """What the models of a device have in common."""

    device: str
    make_download: Callable[[Blob, Part, int | None], Download]
    journal: Callable[[Event], None]
    clock: Clock
    turns: Turns
    golden_every_s: float = 0.0


class AgentModel:
    """One model. `open` it, then `recover` it; `serving` answers from then on."""

    def __init__(self, settings: ModelSettings, folder: Path, recorder: Recorder) -> None:
        self._settings = settings
        self._store = ModelStore(folder)
        self._results = ResultQueue(_RESULTS)
        self._problem: str | None = None
        self.serving = Serving(_how_to_serve(settings), recorder, self._results)

    def open(self, *, alone: bool) -> None:
        """Install the bundle of the settings if no push has brought one.

        One that cannot serve is reported, and raises where the model is alone: there is nothing else to do.
        """
        self._store.open()
        if not self._settings.bundle or self._store.read_pointer().current:
            return
        try:
            self._adopt(try_bundle(self._settings, strict=not alone))
        except (EdgeflockError, OSError) as error:
            if alone:
                raise
            log.error("%s waits for a push: %s", self._settings.name, error)
            self._problem = str(error)

    def _adopt(self, release: str) -> None:
        slot = self._store.adopt(Path(self._settings.bundle).read_bytes(), release)
        self._store.write_pointer(committed(installed(self._store.read_pointer(), slot)))

    def recover(self, shared: Shared) -> OwnModel:
        """Serve what the disk says should serve; return what the control thread drives."""
        settings = self._settings
        ports = Ports(
            store=self._store,
            trial=_make_trial(settings),
            serving=self.serving,
            make_download=shared.make_download,
            journal=shared.journal,
            clock=shared.clock,
            board=Board(userland(), backend_version(settings.backend), _trial_memory_bytes()),
            slower_limit=settings.slower_limit,
            turns=shared.turns,
        )
        updater = Updater(shared.device, settings.name, ports)
        updater.recover(self._problem)

        def failed(release: str, reason: str) -> None:
            state = str(updater.state)
            shared.journal(Event(settings.name, state, state, "golden-failed", release, reason[:_DETAIL]))

        return OwnModel(
            name=settings.name,
            updater=updater,
            results=self._results,
            observed=self.serving.take_observed,
            check=SelfCheck(self.serving),
            missed=lambda: self.serving.unobserved,
            golden=GoldenWatch(self.serving, shared.golden_every_s, shared.clock, failed),
        )


def try_bundle(settings: ModelSettings, *, strict: bool) -> str:
    """Put the first bundle of a model through its trial and return its release name.

    Raises BundleError or ModelError. With `strict`, also for a bundle of another model: where there are
    several, one would serve under the name of the other.
    """
    path = Path(settings.bundle)
    release = release_name(read_bundle(path))
    if strict and release.rpartition("/")[0] != settings.name:
        raise ModelError(f"{path} holds {release}, which is no release of {settings.name}")
    prove(settings, path)
    return release


def prove(settings: ModelSettings, path: Path) -> None:
    """Put the bundle at `path` through the trial of a model and wait for it; raise ModelError."""
    trial = _make_trial(settings)
    verdict: Verdict | None = None
    trial.start(path)
    try:
        deadline = Deadline.after(DEADLINE_S[State.STAGE])
        while verdict is None and not deadline.passed:
            time.sleep(0.02)
            verdict = trial.poll()
    finally:
        trial.kill()
    if verdict is None or not verdict.passed:
        raise ModelError(f"{path} failed its trial: {verdict.reason if verdict else 'no answer'}")


def _how_to_serve(settings: ModelSettings) -> HowToServe:
    threads, pool = shared_out(settings.threads, settings.pool)
    return HowToServe(
        loader=choose_loader(settings.backend, threads=threads, isolation=settings.isolation),
        pool=pool,
        overhead_bytes=PROCESS_BYTES if settings.isolation == "process" else 0,
        policy=SwapPolicy(settings.swap),
        shadow_share=settings.shadow_share,
        shadow_pairs=settings.shadow_pairs,
        available_bytes=available_bytes,
        random=random.random,
    )


def _make_trial(settings: ModelSettings) -> ChildTrial:
    return ChildTrial(
        settings.backend,
        settings.threads,
        memory_bytes=_trial_memory_bytes(),
        p99_us=settings.p99_limit_ms * 1e3 or None,
    )


def _trial_memory_bytes() -> int:
    """On a small board a model gets at most half of the memory; what is more it would not serve with."""
    return min(MEMORY_BYTES, total_bytes() // 2)
