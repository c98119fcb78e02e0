"""What the device's rules act through: one port for each part of the world, implemented in adapters/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edge.backend import Array
from edge.download import Download, Part
from edge.fitness import Board
from edge.golden import Verdict
from edge.pointer import Pointer
from edge.probation import Outcome
from edge.shadow import Pairs
from edge.turns import Turns
from wire.deadline import Clock
from wire.link import Link
from wire.manifest import Manifest
from wire.messages import Ack, Blob, Event, Release
from wire.topics import Leaf, Topics


class Store(Protocol):
    """The device's disk (edge/adapters/model_store.py)."""

    def read_pointer(self) -> Pointer: ...

    def write_pointer(self, pointer: Pointer) -> None: ...

    def path(self, sha256: str) -> Path: ...

    def holds(self, sha256: str) -> bool: ...

    def on_disk(self) -> frozenset[str]: ...

    def reserve(self, blob: Blob, release: Release) -> Part: ...

    def install(self, part: Part, blob: Blob, release: Release) -> None:
        """Make the bundle of `release` of a blob that is all there; raises TransferError for any other."""

    def collect(self, keep: frozenset[str]) -> None: ...


class Trial(Protocol):
    """Tries a bundle where a crash does no harm (edge/adapters/child_trial.py)."""

    def start(self, bundle: Path, *, serving: Path | None = None, signed: Manifest | None = None) -> None:
        """Begin; with `serving`, a bundle that its callers could not call fails.

        So does one whose manifest is not the one that was signed for it.
        """

    def poll(self) -> Verdict | None: ...

    def kill(self) -> None: ...


class Serving(Protocol):
    """What answers callers (edge/serving.py)."""

    @property
    def release(self) -> str | None:
        """What serves now."""

    def prepare(self, bundle: Path, needs_bytes: int = 0) -> None:
        """Have the candidate loaded and warm; raises BundleError or ModelError, and all is as before."""

    def swap(self) -> None:
        """Let the prepared candidate answer from the next call on."""

    def commit(self) -> None:
        """The model that serves is trusted: let go of the one before it."""

    def begin_shadow(self, bundle: Path, needs_bytes: int = 0) -> bool:
        """Run the candidate beside the serving model, if that is wished; raises as `prepare` does."""

    def shadow_step(self) -> Pairs:
        """Go on with it and return what the pairs say; raises ModelError when the candidate fails."""

    def shadow_done(self) -> bool: ...

    def drop_candidate(self) -> None:
        """Let go of a candidate that will not be swapped in."""

    def stop(self) -> None:
        """Serve nothing."""

    def health(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors) of a release since boot."""

    def latencies(self, release: str) -> Array:
        """Return how many of its calls fell into each bucket of wire.histogram since boot."""

    def self_test(self) -> Verdict:
        """Run some of the golden set on what serves; counts as no answer."""


class Watch(Protocol):
    """Looks at what is on probation (edge/probation.py, edge/selfupdate/health.py)."""

    def step(self) -> Outcome | None:
        """Look at it; return the outcome once there is one."""


@dataclass(frozen=True)
class Ports:
    """What the updater acts through. `journal` must have stored the event when it returns.

    `board` is what a model would find here; a median latency of more than `slower_limit` times the usual
    one sends a model on probation back (0: none does). `turns` is shared by all models of the device. `watch`
    begins a probation by name of the release; None begins that of a model.
    """

    store: Store
    trial: Trial
    serving: Serving
    make_download: Callable[[Blob, Part, int | None], Download]
    journal: Callable[[Event], None]
    clock: Clock
    board: Board = field(default_factory=Board)
    slower_limit: float = 0.0
    turns: Turns = field(default_factory=Turns)
    watch: Callable[[str], Watch] | None = None


class Outbox(Protocol):
    """Durable messages until the server has them (edge/adapters/outbox.py)."""

    @property
    def dropped(self) -> int:
        """How many messages were lost to a bound."""

    @property
    def settled(self) -> bool:
        """Whether the server has everything."""

    def add(self, stream: Leaf, body: Any) -> None:
        """Store a message; it is on the disk when this returns. Raises MessageError for one too large."""

    def acknowledge(self, ack: Ack) -> None: ...

    def reconnected(self) -> None: ...

    def pump(self, link: Link, topics: Topics, device: str) -> None: ...
