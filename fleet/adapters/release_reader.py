"""Reads what each release that serves did, and what it is held against; writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from fleet.adapters.bundle_references import BundleReferences
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.binned import Reference, baseline
from fleet.findings import ByDevice, ReleaseFacts
from fleet.timing import DAY_S, HOUR_S
from wire.counters import ModelCounters
from wire.messages import Release, Reported

#: Labels come late, and devices have nights: accuracy is of a day.
WINDOW_S: Final = DAY_S
#: Errors, latency and drift are of an hour, and reach back to the beginning of the one before.
RECENT_S: Final = HOUR_S
#: The release before it, on the same devices.
BEFORE_S: Final = 30 * DAY_S
#: Without a reference in the bundle the days that hold its first answers are one.
BASELINE_ANSWERS: Final = 5_000
BASELINE_DAYS: Final = 14


class Counts(Protocol):
    """The port to the sums by device of one release over a stretch of Unix time."""

    def by_device(self, release: str, since_s: float, until_s: float) -> dict[str, ModelCounters]: ...


class ReleaseReader:
    """The reader; its database is of the thread that reads."""

    def __init__(self, database: Database, counts: Counts) -> None:
        self._registry = Registry(database)
        self._references = BundleReferences(self._registry)
        self._counts = counts
        self._baselines: dict[str, tuple[ByDevice, ...]] = {}
        self._searched_s: dict[str, float] = {}

    def facts(self, reported: Iterable[Reported], now_s: float) -> list[ReleaseFacts]:
        """Return the facts of each release that any device serves; `reported` is what devices said last."""
        serving, known = self._known(reported)
        return [self._release(name, before, known.get(name), now_s) for name, before in serving.items()]

    def facts_of(self, release: str, reported: Iterable[Reported], now_s: float) -> ReleaseFacts | None:
        """Return the facts of one release, None where no device serves it."""
        serving, known = self._known(reported)
        if release not in serving:
            return None
        return self._release(release, serving[release], known.get(release), now_s)

    def _known(self, reported: Iterable[Reported]) -> tuple[Mapping[str, str | None], dict[str, Release]]:
        """Return what serves and what is in the registry; what is remembered of other releases goes."""
        serving = _serving(reported)
        self._references.keep(frozenset(serving))
        self._baselines = {name: windows for name, windows in self._baselines.items() if name in serving}
        return serving, {release.name: release for release in self._registry.releases()}

    def _release(self, name: str, before: str | None, known: Release | None, now_s: float) -> ReleaseFacts:
        read = self._counts.by_device
        return ReleaseFacts(
            release=name,
            window=read(name, now_s - WINDOW_S, now_s),
            recent=read(name, now_s - RECENT_S, now_s),
            before_name=before,
            before=read(before, now_s - BEFORE_S, now_s) if before else {},
            promised=known.manifest.metrics.get("accuracy") if known else None,
            reference=self._reference(known, now_s) or self._baseline(name, now_s),
        )

    def _reference(self, known: Release | None, now_s: float) -> Reference | None:
        return self._references.of(known, now_s) if known else None

    def _baseline(self, release: str, now_s: float) -> Sequence[ByDevice] | None:
        """Return the days of its first answers; None until they are whole, and a later one to compare."""
        if release not in self._baselines:
            if now_s - self._searched_s.get(release, 0.0) < HOUR_S:
                return None
            self._searched_s[release] = now_s
            days = [
                self._counts.by_device(release, now_s - (i + 1) * DAY_S, now_s - i * DAY_S)
                for i in reversed(range(BASELINE_DAYS))
            ]
            filled = [day for day in days if day]
            count = baseline(filled, BASELINE_ANSWERS)
            if not count:
                return None
            self._baselines[release] = tuple(filled[:count])
        return self._baselines[release]


def _serving(reported: Iterable[Reported]) -> Mapping[str, str | None]:
    """Return the releases that serve, and of each the one that most of its devices had before."""
    before: dict[str, Counter[str]] = {}
    for said in reported:
        for model in said.models:
            if model.current is not None:
                earlier = before.setdefault(model.current, Counter())
                if model.previous is not None and model.previous != model.current:
                    earlier[model.previous] += 1
    return {name: next((n for n, _ in c.most_common(1)), None) for name, c in sorted(before.items())}
