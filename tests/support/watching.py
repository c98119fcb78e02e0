"""What a control thread reports with, on a board whose vitals never change."""

from __future__ import annotations

from collections.abc import Callable

from edge.observing import Observing
from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.reporting import Reporting, ReportParts
from edge.sampling import Sampler, SamplingRules
from tests.support.fakes import FixedVitals
from wire.deadline import Clock


def make_reporting(
    recorder: Recorder,
    clock: Clock,
    interval_s: float,
    *,
    rate: float = 0.0,
    remembered: Remembered | None = None,
    waiting: Callable[[], int] = lambda: 0,
) -> tuple[Reporting, Observing]:
    """Return what cuts reports, and what looks at answers for it."""
    sampler = Sampler(SamplingRules(rate), lambda: 0.0)
    observing = Observing(recorder, sampler, Remembered() if remembered is None else remembered)
    parts = ReportParts(recorder, observing, FixedVitals(), clock, waiting)
    return Reporting(parts, interval_s, 32_000), observing
