"""Fakes for what cannot be had in a unit test: a clock to turn, a trial with a given verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.backend import Array, Tensor
from edge.golden import Verdict
from edge.prediction import Prediction, Reading
from edge.shadow import Pairs
from edge.swapping import NoRoomError
from tests.support.examples import VITALS
from wire.errors import ModelError
from wire.histogram import BUCKETS, bucket_of
from wire.manifest import Manifest
from wire.messages import Vitals


@dataclass
class TurnedClock:
    """A clock that a test turns by hand."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def turn(self, seconds: float) -> None:
        self.now_s += seconds


class FixedVitals:
    """A board whose vitals never change."""

    def watch(self) -> None:
        pass

    def read(self) -> Vitals:
        return VITALS


def prediction(release: str = "digits/1", best: int = 1, confidence: float = 0.9) -> Prediction:
    """A prediction of 3 classes, as a model without labels gives it in 100 us."""
    scores = np.zeros((1, 3), np.float32)
    scores[0, best] = confidence
    output = Tensor(0, "y", scores.dtype, scores.shape)
    return Prediction((Reading(release, (output,)), (scores,), 100_000))


@dataclass
class ScriptedTrial:
    """A trial whose verdict the test sets; None is a trial that never ends."""

    verdict: Verdict | None = field(default_factory=lambda: Verdict(True, "fine"))
    started: list[Path] = field(default_factory=list)
    killed: int = 0

    def start(self, bundle: Path, *, serving: Path | None = None, signed: Manifest | None = None) -> None:
        self.started.append(bundle)

    def poll(self) -> Verdict | None:
        return self.verdict

    def kill(self) -> None:
        self.killed += 1


@dataclass
class ScriptedServing:
    """Serving without an interpreter: remembers what serves, fails where the test says so."""

    refuses: set[Path] = field(default_factory=set)
    no_room: bool = False
    serves: Path | None = None
    inferences: int = 0
    errors: int = 0
    shadows: bool = False
    unloads: bool = False
    pairs: Pairs = field(default_factory=Pairs)
    shadow_fails: bool = False
    committed: Path | None = None
    tested: Verdict = field(default_factory=lambda: Verdict(True, "fine"))
    reloads: int = 0
    candidate: Path | None = None
    latency_counts: dict[str, Array] = field(default_factory=dict)

    @property
    def release(self) -> str | None:
        return str(self.serves) if self.serves else None

    def prepare(self, bundle: Path, needs_bytes: int = 0) -> None:
        if bundle in self.refuses:
            raise ModelError("cannot be loaded here")
        if self.no_room:
            raise NoRoomError("no memory is left")
        self.candidate = bundle
        if self.unloads:
            self.serves = None

    def swap(self) -> None:
        self.serves = self.candidate

    def commit(self) -> None:
        self.committed = self.serves

    def stop(self) -> None:
        self.serves = None

    def begin_shadow(self, bundle: Path, needs_bytes: int = 0) -> bool:
        if self.shadows:
            self.prepare(bundle)
        return self.shadows

    def shadow_step(self) -> Pairs:
        if self.shadow_fails:
            raise ModelError("the candidate failed on a live input")
        return self.pairs

    def shadow_done(self) -> bool:
        return self.pairs.pairs >= 3

    def drop_candidate(self) -> None:
        self.candidate = None

    def self_test(self) -> Verdict:
        return self.tested

    def reload(self) -> None:
        self.reloads += 1

    def health(self, release: str) -> tuple[int, int]:
        return self.inferences, self.errors

    def latencies(self, release: str) -> Array:
        return self.latency_counts.setdefault(release, np.zeros(BUCKETS, np.int64)).copy()

    def answer(self, release: str, count: int, took_us: float) -> None:
        """Let `release` have answered `count` calls that took `took_us` each."""
        self.inferences += count
        self.latency_counts.setdefault(release, np.zeros(BUCKETS, np.int64))[bucket_of(took_us)] += count
