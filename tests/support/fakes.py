"""Fakes for what cannot be had in a unit test: a clock to turn, a trial with a given verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge.golden import Verdict
from wire.errors import ModelError


@dataclass
class TurnedClock:
    """A clock that a test turns by hand."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def turn(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class ScriptedTrial:
    """A trial whose verdict the test sets; None is a trial that never ends."""

    verdict: Verdict | None = field(default_factory=lambda: Verdict(True, "fine"))
    started: list[Path] = field(default_factory=list)
    killed: int = 0

    def start(self, bundle: Path) -> None:
        self.started.append(bundle)

    def poll(self) -> Verdict | None:
        return self.verdict

    def kill(self) -> None:
        self.killed += 1


@dataclass
class ScriptedServing:
    """Serving without an interpreter: remembers what serves, fails where the test says so."""

    refuses: set[Path] = field(default_factory=set)
    serves: Path | None = None
    inferences: int = 0
    errors: int = 0
    _candidate: Path | None = None

    def prepare(self, bundle: Path) -> None:
        if bundle in self.refuses:
            raise ModelError("cannot be loaded here")
        self._candidate = bundle

    def swap(self) -> None:
        self.serves = self._candidate

    def stop(self) -> None:
        self.serves = None

    def health(self, release: str) -> tuple[int, int]:
        return self.inferences, self.errors
