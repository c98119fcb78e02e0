"""How good a release is in the field: from counters by device to figures, each with its interval.

Rules:
- input is one `ModelCounters` for each device, summed over a window (wire/counters.py: they add up);
- everything is computed from the merged counts; devices are the clusters of the intervals
  (fleet/estimating.py);
- where there is nothing to compute a figure from it is None, never 0;
- only a part of the answers gets a label, and hardly the easy part by chance: `coverage` stands beside
  every accuracy, for each class too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.calibration import Calibration, calibration
from fleet.estimating import Estimate, column, share
from fleet.per_class import ClassFigures, Macro, merged, per_class
from wire.counters import Buckets, Cells, ModelCounters, SliceCounters
from wire.histogram import merge, quantile


@dataclass(frozen=True)
class SliceFigures:
    """The answers under one tag."""

    tag: str
    inferences: int
    labelled: int
    coverage: float | None
    accuracy: Estimate | None


@dataclass(frozen=True)
class Quality:
    """One release over a window. Latencies are in microseconds, true over all devices within 1 %.

    `coverage` is the share of answers that were labelled; since a label comes later than its answer, in a
    short window it is rough, and never above 1. `error_share` is of all calls.
    """

    devices: int
    inferences: int
    errors: int
    error_share: float | None
    labelled: int
    coverage: float | None
    accuracy: Estimate | None
    macro: Macro
    classes: tuple[ClassFigures, ...]
    class_coverage: dict[int, float]
    confusion: Cells
    calibration: Calibration | None
    slices: tuple[SliceFigures, ...]
    p50_us: float | None
    p99_us: float | None
    golden_runs: int
    golden_failed: int


def quality(by_device: Mapping[str, ModelCounters]) -> Quality:
    """Return the figures of one release; `by_device` holds the sums of a window for each device."""
    counters = list(by_device.values())
    inferences, errors = sum(c.inferences for c in counters), sum(c.errors for c in counters)
    labelled = sum(c.labelled for c in counters)
    matrices = [c.confusion for c in counters]
    classes, macro = per_class(matrices)
    p50_us, p99_us = latency([c.latency_us for c in counters])
    return Quality(
        devices=len(counters),
        inferences=inferences,
        errors=errors,
        error_share=_part(errors, inferences + errors),
        labelled=labelled,
        coverage=_part(labelled, inferences),
        accuracy=accuracy(by_device),
        macro=macro,
        classes=classes,
        class_coverage=_class_coverage(counters, classes),
        confusion=merged(matrices),
        calibration=calibration(c.reliability for c in counters),
        slices=_slices(counters),
        p50_us=p50_us,
        p99_us=p99_us,
        golden_runs=sum(c.golden_runs for c in counters),
        golden_failed=sum(c.golden_failed for c in counters),
    )


def accuracy(by_device: Mapping[str, ModelCounters]) -> Estimate | None:
    """Return right answers as a share of labelled ones, None without any."""
    counters = by_device.values()
    return share(column(c.correct for c in counters), column(c.labelled for c in counters))


def latency(parts: Iterable[Buckets]) -> tuple[float | None, float | None]:
    """Return median and 99th percentile of all values together, in microseconds."""
    whole = merge(parts)
    return quantile(whole, 0.5), quantile(whole, 0.99)


def _slices(counters: Iterable[ModelCounters]) -> tuple[SliceFigures, ...]:
    by_tag: dict[str, list[SliceCounters]] = {}
    for of_device in counters:
        for part in of_device.slices:
            by_tag.setdefault(part.tag, []).append(part)
    return tuple(_slice(tag, parts) for tag, parts in sorted(by_tag.items()))


def _slice(tag: str, parts: list[SliceCounters]) -> SliceFigures:
    inferences, labelled = sum(p.inferences for p in parts), sum(p.labelled for p in parts)
    found = share(column(p.correct for p in parts), column(p.labelled for p in parts))
    return SliceFigures(tag, inferences, labelled, _part(labelled, inferences), found)


def _class_coverage(counters: Iterable[ModelCounters], classes: Iterable[ClassFigures]) -> dict[int, float]:
    """Return which share of each class's answers was labelled, where answers were counted by class."""
    answered: dict[int, int] = {}
    for of_device in counters:
        for number, count in zip(of_device.predicted.classes, of_device.predicted.counts, strict=True):
            answered[number] = answered.get(number, 0) + count
    labelled = {figures.number: figures.predictions for figures in classes}
    return {
        number: min(1.0, labelled.get(number, 0) / count)
        for number, count in sorted(answered.items())
        if count
    }


def _part(part: int, whole: int) -> float | None:
    return min(1.0, part / whole) if whole else None
