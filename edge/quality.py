"""What a report says of the answers of one release: counts by class, by confidence and by truth. Pure.

Rules:
- counts wait here until a report takes them, and leave with it: whatever had no room is in the next one,
  the longest waiting first, so that the sum of all reports is the sum of all answers; what there is most
  of (a thousand classes) leaves room for the rest;
- a model that ever gave a value outside 0 to 1 as its largest gives no shares: its confidences are
  counted no more, since the part of them that looks like shares would be no fair picture;
- what a matrix lacks to `labelled` had no room to wait, or no class (MAX_WAITING);
- no more than MAX_TAGS tags are counted apart: the others together, as `other`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge.backend import Array
from wire.counters import (
    CONFIDENCE_BINS,
    MAX_CLASSES,
    MILLI,
    RELIABILITY_BINS,
    Cells,
    Classes,
    FeatureCounts,
    Reliability,
    SliceCounters,
)
from wire.scores import are_shares, in_bins

#: Cells of one kind that wait for a report, 100 bytes each: past it a new one is not counted, while one more
#: in a cell that waits is. A matrix of a thousand classes could grow to a million.
MAX_WAITING: Final = 20_000

MAX_TAGS: Final = 64
OTHER: Final = "other"


@dataclass(frozen=True)
class QualityCut:
    """What one report takes. `cells` is how many of its budget's cells it uses."""

    predicted: Classes = field(default_factory=Classes)
    confidence: tuple[int, ...] = ()
    confusion: Cells = field(default_factory=Cells)
    reliability: Reliability = field(default_factory=Reliability)
    slices: tuple[SliceCounters, ...] = ()
    features: tuple[FeatureCounts, ...] = ()

    @property
    def cells(self) -> int:
        lists = (self.predicted.counts, self.confusion.counts, self.slices)
        return sum(map(len, lists)) + sum(len(feature.counts) for feature in self.features)


class Waiting:
    """Counts by key that no report has taken yet, in the order in which they came."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, keys: Array) -> None:
        """Count each of `keys`, int64 [n]."""
        found, counts = np.unique(keys, return_counts=True)
        waiting = self._counts
        for key, count in zip(found.tolist(), counts.tolist(), strict=True):
            if key in waiting or len(waiting) < MAX_WAITING:
                waiting[key] = waiting.get(key, 0) + count

    def take(self, most: int) -> dict[int, int]:
        """Return at most `most` keys with their counts, and forget them."""
        keys = list(self._counts)[: max(0, most)]
        return {key: self._counts.pop(key) for key in keys}


class Quality:
    """The counts of one release. Whoever owns it keeps two threads out of it."""

    def __init__(self) -> None:
        self._predicted = Waiting()
        self._confusion = Waiting()
        self._confidence = np.zeros(CONFIDENCE_BINS, np.int64)
        self._labelled = np.zeros(RELIABILITY_BINS, np.int64)
        self._correct = np.zeros(RELIABILITY_BINS, np.int64)
        self._sure = np.zeros(RELIABILITY_BINS)  # sums of confidences
        self._slices: dict[str, list[int]] = {}
        self._tags: set[str] = set()
        self._features: dict[str, Array] = {}
        self._shares = True

    def answered(self, classes: Array, confidences: Array) -> None:
        """Count answers: int64 [n] with -1 for none, and float64 [n] with NaN where it is not known."""
        known = classes >= 0
        self._predicted.add(classes[known])
        confidences = confidences[np.isfinite(confidences)]
        self._look_for_shares(confidences)
        if self._shares and len(confidences):
            self._confidence += np.bincount(in_bins(confidences, CONFIDENCE_BINS), minlength=CONFIDENCE_BINS)

    def judged(self, classes: Array, confidences: Array, truths: Array, most: int = MAX_CLASSES) -> int:
        """Count answers whose truth is known, int64 [n] each; return how many were right.

        An answer without a class is wrong, and in no cell. In none is either whose class or truth is none of
        `most` classes: a model may have more than are counted apart.
        """
        right = classes == truths
        known = (classes >= 0) & (classes < most) & (truths >= 0) & (truths < most)
        self._confusion.add(truths[known] * MAX_CLASSES + classes[known])
        sure = known & np.isfinite(confidences)
        self._look_for_shares(confidences[sure])
        if self._shares and sure.any():
            shares = np.clip(confidences[sure], 0.0, 1.0)
            bins = in_bins(shares, RELIABILITY_BINS)
            self._labelled += np.bincount(bins, minlength=RELIABILITY_BINS)
            self._sure += np.bincount(bins, weights=shares, minlength=RELIABILITY_BINS)
            self._correct += np.bincount(bins[right[sure]], minlength=RELIABILITY_BINS)
        return int(right.sum())

    def tagged(self, tags: Iterable[str], *, answered: bool = True, labelled: bool, correct: bool) -> None:
        """Count one answer, or what came to be known of one, under each of its tags."""
        for tag in dict.fromkeys(map(self._known, tags)):  # once, also under what several of them count as
            counts = self._slices.setdefault(tag, [0, 0, 0])
            counts[0] += answered
            counts[1] += labelled
            counts[2] += labelled and correct

    def measured(self, counts: Mapping[str, Array]) -> None:
        """Count features of inputs, in the bins of their reference."""
        for name, bins in counts.items():
            before = self._features.pop(name, None)
            same = before is not None and len(before) == len(bins)
            self._features[name] = before + bins if same else bins  # another bundle of the name: its bins

    def take(self, cells: int) -> QualityCut:
        """Return what a report of at most `cells` cells has room for; the rest waits."""
        bins = sum(map(len, self._features.values()))
        wanted = (len(self._predicted), len(self._confusion), len(self._slices), bins)
        predicted_room, confusion_room, slices_room, features_room = allotted(wanted, cells)
        predicted, confusion = self._predicted.take(predicted_room), self._confusion.take(confusion_room)
        slices = [(tag, self._slices.pop(tag)) for tag in list(self._slices)[:slices_room]]
        features = list(self._take_features(features_room))
        confidence, self._confidence = self._confidence, np.zeros_like(self._confidence)
        labelled, self._labelled = self._labelled, np.zeros_like(self._labelled)
        correct, self._correct = self._correct, np.zeros_like(self._correct)
        sure, self._sure = np.rint(self._sure * MILLI).astype(np.int64), np.zeros_like(self._sure)
        reliability = (labelled, correct, sure) if labelled.any() else ()
        return QualityCut(
            Classes(tuple(predicted), tuple(predicted.values())),
            tuple(confidence.tolist()) if confidence.any() else (),
            Cells(
                tuple(key // MAX_CLASSES for key in confusion),
                tuple(key % MAX_CLASSES for key in confusion),
                tuple(confusion.values()),
            ),
            Reliability(*(tuple(column.tolist()) for column in reliability)),
            tuple(SliceCounters(tag, *counts) for tag, counts in slices),
            tuple(features),
        )

    def _take_features(self, cells: int) -> Iterator[FeatureCounts]:
        for name in list(self._features):
            cells -= len(self._features[name])
            if cells < 0:
                return
            yield FeatureCounts(name, tuple(self._features.pop(name).tolist()))

    def _known(self, tag: str) -> str:
        if tag not in self._tags:
            if len(self._tags) >= MAX_TAGS:
                return OTHER
            self._tags.add(tag)
        return tag

    def _look_for_shares(self, confidences: Array) -> None:
        if self._shares and len(confidences):
            self._shares = are_shares(confidences)
            if not self._shares:
                self._confidence[:] = self._labelled[:] = self._correct[:] = 0


def allotted(wanted: Sequence[int], room: int) -> list[int]:
    """Return how much of `room` each gets: what it wants, or an equal share of what others leave."""
    given = [0] * len(wanted)
    for served, place in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[place] = min(wanted[place], max(0, room) // (len(wanted) - served))
        room -= given[place]
    return given
