"""What the HTTP side did since it started, and its page for Prometheus. Pure.

Counters live on the event loop: nobody else touches them. Releases come and go for years, so of those
that are no longer served only the newest are kept. A release is called by the name it is served under.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from edge.web.feedback import Judgement
from edge.web.prometheus import Family, Histogram, by_label

_RELEASES: Final = 32

#: Upper bounds of the latency buckets in microseconds: a dense model on a server, a detector on a board.
_BOUNDS_US: Final = (
    2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000,
    100_000, 250_000, 500_000, 1_000_000, 2_500_000,
)  # fmt: skip
_BOUNDS_NS: Final = tuple(bound * 1000 for bound in _BOUNDS_US)
_BOUNDS_S: Final = tuple(bound / 1e6 for bound in _BOUNDS_US)


@dataclass
class ReleaseCounts:
    """What one release did."""

    rows: int = 0
    failures: int = 0
    correct: int = 0
    wrong: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_US) + 1))
    latency_ns: int = 0


@dataclass(frozen=True)
class Level:
    """What is so at the moment of a look."""

    in_flight: int
    reading: int
    held_bytes: int
    connections: int
    remembered: int
    draining: bool
    models: tuple[tuple[str, str, bool], ...] = ()


class Counts:
    """Counters of the application."""

    def __init__(self, is_served: Callable[[str], bool] = lambda _: False) -> None:
        self._is_served = is_served
        self.responses: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.crashes = 0
        self._releases: dict[str, ReleaseCounts] = {}

    def of(self, release: str) -> ReleaseCounts:
        """Return the counters of a release."""
        counts = self._releases.get(release)
        if counts is None:
            counts = self._releases[release] = ReleaseCounts()
            if len(self._releases) > _RELEASES:
                self._forget(release)
        return counts

    def _forget(self, newest: str) -> None:
        gone = [name for name in self._releases if name != newest and not self._is_served(name)]
        for name in gone[: len(self._releases) - _RELEASES]:
            del self._releases[name]

    def answered(self, release: str, rows: int, latency_ns: int) -> None:
        """Count a call and what it took inside the model."""
        counts = self._releases.get(release) or self.of(release)
        counts.rows += rows
        counts.latency[bisect_left(_BOUNDS_NS, latency_ns)] += 1
        counts.latency_ns += latency_ns

    def failed(self, release: str) -> None:
        """Count a call that the model failed."""
        self.of(release).failures += 1

    def judged(self, judgement: Judgement) -> None:
        """Count what a truth said about a prediction."""
        counts = self.of(judgement.release)
        counts.correct += judgement.correct
        counts.wrong += judgement.wrong

    def families(self, level: Level) -> Iterable[Family]:
        """Return all metrics."""
        yield from self._of_models()
        yield from self._of_requests()
        yield from _of_now(level)

    def _of_models(self) -> Iterable[Family]:
        releases = [(_labels(release), counts) for release, counts in self._releases.items()]
        yield Family("edgeflock_predictions_total", "counter", "Inputs answered.",
                     [(labels, c.rows) for labels, c in releases])  # fmt: skip
        yield Family("edgeflock_inference_failures_total", "counter", "Calls that the model failed.",
                     [(labels, c.failures) for labels, c in releases])  # fmt: skip
        latencies = [(labels, Histogram(_BOUNDS_S, c.latency, c.latency_ns * 1e-9)) for labels, c in releases]
        help_text = "Time of a call inside the model."
        yield Family("edgeflock_inference_seconds", "histogram", help_text, histograms=latencies)
        judged = [
            ((*labels, ("correct", word)), count)
            for labels, c in releases
            for word, count in (("true", c.correct), ("false", c.wrong))
        ]
        yield Family("edgeflock_feedback_total", "counter", "Answers whose truth was told.", judged)

    def _of_requests(self) -> Iterable[Family]:
        codes = {str(code): count for code, count in self.responses.items()}
        yield Family(
            "edgeflock_http_responses_total", "counter", "Responses by status code.", by_label(codes, "code")
        )
        yield Family("edgeflock_http_refused_total", "counter", "Requests refused, by reason.",
                     by_label(self.refused, "reason"))  # fmt: skip
        yield Family("edgeflock_http_crashes_total", "counter", "Requests that met a fault of the server.",
                     [((), self.crashes)])  # fmt: skip


def _of_now(level: Level) -> Iterable[Family]:
    ready = [((("model", name), ("version", version)), float(up)) for name, version, up in level.models]
    yield Family("edgeflock_model_ready", "gauge", "1 where the model answers.", ready)
    for name, help_text, value in (
        ("edgeflock_http_in_flight", "Requests that wait for a model or are in one.", level.in_flight),
        ("edgeflock_http_reading", "Requests whose body is not whole yet.", level.reading),
        ("edgeflock_http_held_bytes", "Bytes of bodies, arrays and answers.", level.held_bytes),
        ("edgeflock_http_connections", "Open connections.", level.connections),
        ("edgeflock_feedback_waiting", "Predictions whose truth may still be told.", level.remembered),
        ("edgeflock_draining", "1 while shutting down.", level.draining),
    ):
        yield Family(name, "gauge", help_text, [((), float(value))])


def _labels(release: str) -> tuple[tuple[str, str], ...]:
    model, _, version = release.rpartition("/")
    return (("model", model), ("version", version))
