"""What is done about an output that stays the same: ask the golden set, say it, load the model anew."""

from __future__ import annotations

import logging
from typing import Protocol

from edge.golden import Verdict
from edge.results import Result
from edge.stuck import StuckWatch
from wire.errors import BundleError, ModelError

log = logging.getLogger(__name__)


class SelfTest(Protocol):
    """What answers callers, and can be asked whether it still does so rightly (edge/serving.py)."""

    def self_test(self) -> Verdict: ...

    def reload(self) -> None:
        """Put a fresh interpreter in its place; raises BundleError or ModelError."""


class SelfCheck:
    """Looks at every answer, on the control thread. `found` counts models that no longer answered rightly."""

    def __init__(self, serving: SelfTest) -> None:
        self._serving = serving
        self._watch = StuckWatch()
        self.found = 0

    def offer(self, results: list[Result]) -> None:
        """Take note of answers; test the model where they look stuck, and load it anew where it is."""
        suspicions = [self._watch.offer(result) for result in results]
        if not any(suspicions):
            return
        verdict = self._serving.self_test()
        if verdict.passed or not verdict.conclusive:
            return
        self._watch.confirmed()
        self.found += 1
        log.error("one output for all inputs, and %s: the model is loaded anew", verdict.reason)
        try:
            self._serving.reload()
        except (BundleError, ModelError) as error:
            log.error("the model cannot be loaded anew: %s", error)
