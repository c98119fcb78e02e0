"""Sums of what devices counted: over time, over devices, over both.

Every part of `ModelCounters` is a count, so a sum has the same form and is exact; figures are computed
from sums and never averaged. Rules:
- a sum's `total` is its inferences: the devices' own totals since boot do not add up to anything;
- a sum may be larger than what one device may say (`MAX_COUNT`), so it is not checked again: what goes in
  was checked at ingest;
- what varies without end (pairs of classes, tags, features) has a limit in each sum, so that a device that
  invents them costs no more than that; what finds no room is counted (`left_out`), and the counts of which
  it is a part (`labelled`, `inferences`) stay exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from operator import add
from typing import Any, Final, TypeVar

from fleet.reliability_sums import ReliabilitySums
from wire.counters import (
    Buckets,
    Cells,
    Classes,
    FeatureCounts,
    ModelCounters,
    Moments,
    Reliability,
    SliceCounters,
    ValueCounters,
)

T = TypeVar("T")

#: A thousand classes that are mixed up with twenty others each; 300 KB as JSON.
MAX_CELLS: Final = 20_000
MAX_SLICES: Final = 256
MAX_FEATURES: Final = 512

_NO_MOMENTS: Final = asdict(Moments())
_PAIR: Final = 1 << 16  # a pair of classes as one number: (truth * _PAIR) + predicted


class Sums:
    """The sum of any number of `ModelCounters`."""

    __slots__ = (
        "confidence", "confusion", "correct", "errors", "features", "first", "golden_failed", "golden_runs",
        "inferences", "labelled", "latency", "left_out", "predicted", "reliability", "slices", "values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.inferences = self.errors = self.labelled = self.correct = 0
        self.golden_runs = self.golden_failed = self.left_out = 0
        self.first = 0
        self.latency: list[int] = []
        self.confusion: dict[int, int] = {}
        self.predicted: dict[int, int] = {}
        self.confidence: list[int] = []
        self.reliability = ReliabilitySums()
        # Features of one name that are cut into other numbers of bins cannot be added; they stand apart.
        self.features: dict[tuple[str, int], list[int]] = {}
        self.slices: dict[str, list[int]] = {}
        self.values: dict[int, ValueCounters] = {}

    def add(self, counters: ModelCounters) -> Sums:
        """Add one report, or a sum, and return self."""
        self.inferences += counters.inferences
        self.errors += counters.errors
        self.labelled += counters.labelled
        self.correct += counters.correct
        self.golden_runs += counters.golden_runs
        self.golden_failed += counters.golden_failed
        self._add_latency(counters.latency_us.first, counters.latency_us.counts)
        cells = counters.confusion
        if cells.counts:
            self._add_cells(cells.truth, cells.predicted, cells.counts)
        predicted = self.predicted
        for number, n in zip(counters.predicted.classes, counters.predicted.counts, strict=True):
            predicted[number] = predicted.get(number, 0) + n
        self.confidence = _added(self.confidence, counters.confidence)
        right = counters.reliability
        self.reliability.add(right.labelled, right.correct, right.confidence)
        for feature in counters.features:
            self._add_feature(feature.name, feature.counts)
        for part in counters.slices:
            self._add_slice(part.tag, (part.inferences, part.labelled, part.correct))
        for one in counters.values:
            self._add_values(one)
        return self

    def add_plain(self, plain: Mapping[str, Any]) -> Sums:
        """Add a sum as it lies in the store (see `plain`), or a report's part, and return self.

        What has its default is left out by devices (wire/codec.py).
        """
        get = plain.get
        self.inferences += plain["inferences"]
        self.errors += plain["errors"]
        self.labelled += plain["labelled"]
        self.correct += plain["correct"]
        self.golden_runs += get("golden_runs", 0)
        self.golden_failed += get("golden_failed", 0)
        self._add_latency(plain["latency_us"]["first"], plain["latency_us"]["counts"])
        if cells := get("confusion"):
            self._add_cells(cells["truth"], cells["predicted"], cells["counts"])
        if classes := get("predicted"):
            predicted = self.predicted
            for number, n in zip(classes["classes"], classes["counts"], strict=True):
                predicted[number] = predicted.get(number, 0) + n
        self.confidence = _added(self.confidence, get("confidence", ()))
        if right := get("reliability"):
            self.reliability.add(right["labelled"], right["correct"], right.get("confidence", ()))
        for feature in get("features", ()):
            self._add_feature(feature["name"], feature["counts"])
        for part in get("slices", ()):
            right_of = (part["inferences"], part.get("labelled", 0), part.get("correct", 0))
            self._add_slice(part["tag"], right_of)
        for one in get("values", ()):
            answers, errors = (_made(Moments, **_NO_MOMENTS | one.get(n, {})) for n in ("answers", "errors"))
            off = one.get("off", 0.0)
            self._add_values(
                _made(ValueCounters, column=one["column"], answers=answers, errors=errors, off=off)
            )
        return self

    def plain(self, release: str) -> dict[str, Any]:
        """Return the sum as the JSON of a `ModelCounters`, without what is empty."""
        plain: dict[str, Any] = {
            "release": release,
            "inferences": self.inferences,
            "errors": self.errors,
            "latency_us": {"first": self.first, "counts": self.latency},
            "labelled": self.labelled,
            "correct": self.correct,
            "total": self.inferences,
        }
        if self.confusion:
            pairs = self.confusion
            plain["confusion"] = {
                "truth": [pair // _PAIR for pair in pairs],
                "predicted": [pair % _PAIR for pair in pairs],
                "counts": list(pairs.values()),
            }
        if self.predicted:
            plain["predicted"] = {"classes": list(self.predicted), "counts": list(self.predicted.values())}
        if self.confidence:
            plain["confidence"] = self.confidence
        if self.reliability.labelled:
            plain["reliability"] = self.reliability.plain()
        if self.features:
            plain["features"] = [{"name": k[0], "counts": n} for k, n in self.features.items()]
        if self.slices:
            plain["slices"] = [
                {"tag": tag, "inferences": n[0], "labelled": n[1], "correct": n[2]}
                for tag, n in self.slices.items()
            ]
        if self.values:
            plain["values"] = [asdict(one) for one in self.values.values()]
        if self.golden_runs or self.golden_failed:
            plain["golden_runs"], plain["golden_failed"] = self.golden_runs, self.golden_failed
        return plain

    def counters(self, release: str) -> ModelCounters:
        """Return the sum in the form of one report, in a stable order; its `total` is its inferences."""
        pairs = sorted(self.confusion)
        predicted = sorted(self.predicted)
        return _made(
            ModelCounters,
            release=release,
            inferences=self.inferences,
            errors=self.errors,
            latency_us=Buckets(self.first, tuple(self.latency)),
            labelled=self.labelled,
            correct=self.correct,
            total=self.inferences,
            confusion=_made(
                Cells,
                truth=tuple(pair // _PAIR for pair in pairs),
                predicted=tuple(pair % _PAIR for pair in pairs),
                counts=tuple(self.confusion[pair] for pair in pairs),
            ),
            predicted=_made(
                Classes, classes=tuple(predicted), counts=tuple(self.predicted[c] for c in predicted)
            ),
            confidence=tuple(self.confidence),
            reliability=_made(Reliability, **self.reliability.columns()),
            features=tuple(
                _made(FeatureCounts, name=key[0], counts=tuple(n)) for key, n in sorted(self.features.items())
            ),
            slices=tuple(
                _made(SliceCounters, tag=tag, inferences=n[0], labelled=n[1], correct=n[2])
                for tag, n in sorted(self.slices.items())
            ),
            golden_runs=self.golden_runs,
            golden_failed=self.golden_failed,
            values=tuple(one for _, one in sorted(self.values.items())),
        )

    def _add_latency(self, first: int, counts: Iterable[int]) -> None:
        """Widen the histogram where it must be, and add."""
        counts = list(counts)
        if not counts:
            return
        if not self.latency:
            self.first, self.latency = first, counts
            return
        if first < self.first:
            self.latency[:0] = [0] * (self.first - first)
            self.first = first
        start = first - self.first
        end = start + len(counts)
        if end > len(self.latency):
            self.latency += [0] * (end - len(self.latency))
        self.latency[start:end] = map(add, self.latency[start:end], counts)

    def _add_cells(self, truth: Iterable[int], predicted: Iterable[int], counts: Iterable[int]) -> None:
        cells = self.confusion
        for right, said, n in zip(truth, predicted, counts, strict=True):
            pair = right * _PAIR + said
            if pair in cells:
                cells[pair] += n
            elif len(cells) < MAX_CELLS:
                cells[pair] = n
            else:
                self.left_out += n

    def _add_feature(self, name: str, counts: Iterable[int]) -> None:
        counts = list(counts)
        known = self.features.get((name, len(counts)))
        if known is not None:
            known[:] = map(add, known, counts)
        elif len(self.features) < MAX_FEATURES:
            self.features[name, len(counts)] = counts
        else:
            self.left_out += sum(counts)

    def _add_values(self, more: ValueCounters) -> None:
        before = self.values.get(more.column)
        self.values[more.column] = more if before is None else _together(before, more)

    def _add_slice(self, tag: str, counts: tuple[int, int, int]) -> None:
        known = self.slices.get(tag)
        if known is not None:
            known[:] = map(add, known, counts)
        elif len(self.slices) < MAX_SLICES:
            self.slices[tag] = list(counts)
        else:
            self.left_out += counts[0]


def _added(known: list[int], counts: Iterable[int]) -> list[int]:
    """Return the sum of two rows of bins, of which either may be empty: not measured."""
    more = list(counts)
    if not known or not more:
        return known or more
    return list(map(add, known, more))


def _together(one: ValueCounters, other: ValueCounters) -> ValueCounters:
    return _made(
        ValueCounters,
        column=one.column,
        answers=_moments(one.answers, other.answers),
        errors=_moments(one.errors, other.errors),
        off=one.off + other.off,
    )


def _moments(one: Moments, other: Moments) -> Moments:
    if not one.count or not other.count:
        return one if one.count else other
    return _made(
        Moments,
        count=one.count + other.count,
        total=one.total + other.total,
        squares=one.squares + other.squares,
        low=min(one.low, other.low),
        high=max(one.high, other.high),
    )


def _made(kind: type[T], **fields: Any) -> T:
    """Make a frozen dataclass without its own checks, which are for what one device says."""
    made = object.__new__(kind)
    made.__dict__.update(fields)
    return made
