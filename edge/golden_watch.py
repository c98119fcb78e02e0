"""Asks the golden set at intervals whether the model that serves still answers as it should.

Rules:
- one call at a turn of the control thread, so that no caller waits for more than one call of the model;
- a run that another model's coming ends says nothing, and begins anew with that model;
- a failure is counted, told, and the model loaded anew: a fresh interpreter cures what heat or a flipped
  bit of memory has done, and does no harm where it does not;
- a model that was unloaded to be loaded anew, and could not be, is tried again every minute: a device
  that serves nothing is worse than one that serves a model with a doubt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from edge.golden import Verdict
from edge.golden_run import GoldenRun
from wire.deadline import Clock
from wire.errors import BundleError, ModelError

#: A run that came to no end (another model serves, or all interpreters are busy) is made anew after so long.
_AGAIN_S: Final = 60.0

log = logging.getLogger(__name__)


class Tested(Protocol):
    """What answers callers (edge/serving.py)."""

    @property
    def release(self) -> str | None: ...

    def begin_self_test(self, rows: int | None = None) -> GoldenRun | Verdict: ...

    def step_self_test(self, run: GoldenRun) -> Verdict | None: ...

    @property
    def fallen(self) -> bool: ...

    def reload(self) -> None:
        """Put a fresh interpreter in its place; raises BundleError or ModelError."""


#: Is told the release and why its test failed.
OnFailure = Callable[[str, str], None]


class GoldenWatch:
    """Runs the golden set every `every_s` seconds; 0 does not. Lives on the control thread."""

    def __init__(self, serving: Tested, every_s: float, clock: Clock, on_failure: OnFailure) -> None:
        self._serving = serving
        self._every_s = every_s
        self._clock = clock
        self._on_failure = on_failure
        self._due_s = clock() + every_s
        self._run: GoldenRun | None = None
        self._reload_s = clock()

    def tick(self) -> None:
        """Make one call of the model where a test is due or on its way."""
        if self._serving.fallen:
            self._run = None
            self._reload()
            return
        if not self._every_s or (self._run is None and self._clock() < self._due_s):
            return
        if self._serving.release is None:
            self._run = None
            return
        if self._run is None:
            begun = self._serving.begin_self_test()
            self._due_s = self._clock() + self._every_s
            if isinstance(begun, Verdict):
                if not begun.passed:
                    log.warning("the golden set cannot be asked: %s", begun.reason)
                return
            self._run = begun
        verdict = self._serving.step_self_test(self._run)
        if verdict is not None:
            run, self._run = self._run, None
            self._end(run, verdict)

    def _end(self, run: GoldenRun, verdict: Verdict) -> None:
        if not verdict.conclusive:
            self._due_s = self._clock() + min(self._every_s, _AGAIN_S)
            return
        if verdict.passed or run.release != self._serving.release:
            return
        log.error("%s fails its golden set: %s; it is loaded anew", run.release, verdict.reason)
        self._on_failure(run.release, verdict.reason)
        self._reload()

    def _reload(self) -> None:
        if self._clock() < self._reload_s:
            return
        self._reload_s = self._clock() + _AGAIN_S
        try:
            self._serving.reload()
        except (BundleError, ModelError) as error:
            log.error("the model cannot be loaded anew: %s", error)
