"""What stands in for "serving" where the release is software: it runs in this process, or in the next one.

Rules:
- software is prepared when all files of its environment are as they were installed;
- a swap is the wish to start anew: the agent ends as it always does, with nothing lost, and the launcher
  starts what the pointer names. So there is no swap to what runs already;
- what a restart must compare itself with is noted before the pointer is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.backend import Array
from edge.golden import Verdict
from edge.shadow import Pairs
from wire.errors import BundleError, ModelError
from wire.histogram import BUCKETS


class SoftwareServing:
    """`running` is the digest of what runs, None for the factory's; `restart` is called once, for a swap.

    `broken` names a file of an environment that is not right, and `note` writes the situation down.
    """

    def __init__(
        self,
        running: str | None,
        *,
        broken: Callable[[str], str | None],
        note: Callable[[], None],
        trusted: Callable[[], None],
        restart: Callable[[], None],
    ) -> None:
        self._running = running
        self._broken = broken
        self._note = note
        self._trusted = trusted
        self._restart = restart
        self._candidate = running
        self.restarting = False

    @property
    def release(self) -> str:
        """The digest of what runs: there is always something."""
        return self._running or "factory"

    def prepare(self, bundle: Path, needs_bytes: int = 0) -> None:  # noqa: ARG002  # the port's
        """Look at the environment of a release; raises BundleError or OSError."""
        if bundle.stem != self._running:
            if (name := self._broken(bundle.stem)) is not None:
                raise BundleError(f"its environment is damaged: {name}")
            self._note()
        self._candidate = bundle.stem

    def swap(self) -> None:
        if self._candidate != self._running and not self.restarting:
            self.restarting = True
            self._restart()

    def stop(self) -> None:
        """Nothing pushed should run: the factory's software does."""
        self._candidate = None
        self.swap()

    def commit(self) -> None:
        """Trust what runs, unless it is about to end."""
        if not self.restarting:
            self._trusted()

    def drop_candidate(self) -> None:
        self._candidate = self._running

    def begin_shadow(self, bundle: Path, needs_bytes: int = 0) -> bool:  # noqa: ARG002  # the port's
        """Two agents beside each other are none."""
        return False

    def shadow_step(self) -> Pairs:
        raise ModelError("software has no shadow")

    def shadow_done(self) -> bool:
        return True

    def health(self, release: str) -> tuple[int, int]:  # noqa: ARG002  # the port's
        return 0, 0

    def latencies(self, release: str) -> Array:  # noqa: ARG002  # the port's
        return np.zeros(BUCKETS, np.int64)

    def self_test(self) -> Verdict:
        return Verdict(True, "runs")
