"""Figures of a model from its counters: sums of sums, and what follows from them. Pure.

Recall of a class is the share of its members that were found, precision the share of its answers that were
right, F1 their harmonic mean (van Rijsbergen, "Information Retrieval", 1979, chapter 7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.statistics import wilson
from wire.counters import Cells, Classes, FeatureCounts, ModelCounters, Reliability, SliceCounters
from wire.histogram import merge


def added(release: str, parts: Iterable[ModelCounters]) -> ModelCounters:
    """Return the sum of counters of one release; `total` is the number of inferences."""
    parts = list(parts)
    inferences = sum(p.inferences for p in parts)
    return ModelCounters(
        release=release,
        inferences=inferences,
        errors=sum(p.errors for p in parts),
        latency_us=merge(p.latency_us for p in parts),
        labelled=sum(p.labelled for p in parts),
        correct=sum(p.correct for p in parts),
        total=inferences,
        confusion=_cells(p.confusion for p in parts),
        predicted=_classes(p.predicted for p in parts),
        confidence=_bins(p.confidence for p in parts),
        reliability=Reliability(
            _bins(p.reliability.labelled for p in parts), _bins(p.reliability.correct for p in parts)
        ),
        features=_features(f for p in parts for f in p.features),
        slices=_slices(s for p in parts for s in p.slices),
        golden_runs=sum(p.golden_runs for p in parts),
        golden_failed=sum(p.golden_failed for p in parts),
    )


def _cells(parts: Iterable[Cells]) -> Cells:
    sums: Counter[tuple[int, int]] = Counter()
    for part in parts:
        for truth, predicted, count in zip(part.truth, part.predicted, part.counts, strict=True):
            sums[truth, predicted] += count
    keys = sorted(sums)
    return Cells(tuple(t for t, _ in keys), tuple(p for _, p in keys), tuple(sums[key] for key in keys))


def _classes(parts: Iterable[Classes]) -> Classes:
    sums: Counter[int] = Counter()
    for part in parts:
        sums.update(dict(zip(part.classes, part.counts, strict=True)))
    return Classes(tuple(sorted(sums)), tuple(sums[c] for c in sorted(sums)))


def _bins(parts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    filled = [part for part in parts if part]
    longest = max(map(len, filled), default=0)
    return tuple(sum(part[i] for part in filled if i < len(part)) for i in range(longest))


def _features(parts: Iterable[FeatureCounts]) -> tuple[FeatureCounts, ...]:
    by_name: dict[str, list[tuple[int, ...]]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part.counts)
    return tuple(FeatureCounts(name, _bins(counts)) for name, counts in sorted(by_name.items()))


def _slices(parts: Iterable[SliceCounters]) -> tuple[SliceCounters, ...]:
    by_tag: dict[str, list[SliceCounters]] = {}
    for part in parts:
        by_tag.setdefault(part.tag, []).append(part)
    return tuple(
        SliceCounters(
            tag,
            sum(p.inferences for p in same),
            sum(p.labelled for p in same),
            sum(p.correct for p in same),
        )
        for tag, same in sorted(by_tag.items())
    )


@dataclass(frozen=True)
class Share:
    """A share of 1 with its 95 % interval; None where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None
    trials: int


def share(successes: int, trials: int) -> Share:
    """Return a share with Wilson's interval, which takes each trial as independent of the others."""
    interval = wilson(successes, trials)
    if interval is None:
        return Share(None, None, None, 0)
    return Share(successes / trials, interval[0], interval[1], trials)


@dataclass(frozen=True)
class ClassFigures:
    """One class of a confusion matrix."""

    number: int
    members: int
    answers: int
    recall: Share
    precision: Share
    f1: float | None


def per_class(confusion: Cells) -> list[ClassFigures]:
    """Return the figures of each class that occurs, by number."""
    members: Counter[int] = Counter()
    answers: Counter[int] = Counter()
    right: Counter[int] = Counter()
    for truth, predicted, count in zip(confusion.truth, confusion.predicted, confusion.counts, strict=True):
        members[truth] += count
        answers[predicted] += count
        if truth == predicted:
            right[truth] += count
    return [
        ClassFigures(
            number,
            members[number],
            answers[number],
            share(right[number], members[number]),
            share(right[number], answers[number]),
            2 * right[number] / both if (both := members[number] + answers[number]) else None,
        )
        for number in sorted({*members, *answers})
    ]


def macro_f1(classes: Iterable[ClassFigures]) -> float | None:
    """Return the mean F1 of the classes, each counting the same however often it occurs."""
    scores = [c.f1 for c in classes if c.f1 is not None]
    return sum(scores) / len(scores) if scores else None
