"""Counts in bins by device: what two windows are compared by (fleet/drift.py).

A `Table` has a row for each device, or a single one without a name for a sample whose rows are independent
(a bundle's reference). A device that counts in other bins than the rest is left out: its bins mean
something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from fleet.estimating import Floats
from wire.counters import Classes, ModelCounters

#: Classes that are compared apart; the rarer ones are one heap.
_MOST_CLASSES: Final = 64

#: What is looked at: a feature of the inputs, the confidence of answers, the classes answered.
Kind = Literal["feature", "confidence", "classes"]


@dataclass(frozen=True)
class Table:
    """Counts [devices, bins]; `devices` is empty where there is one row that no devices are known of."""

    devices: tuple[str, ...]
    rows: Floats

    @property
    def answers(self) -> float:
        return float(self.rows.sum())


@dataclass(frozen=True)
class Reference:
    """What a release was expected to meet: counts of independent rows, such as those of its training data."""

    features: Mapping[str, Sequence[int]] = field(default_factory=dict)
    confidence: Sequence[int] = ()
    classes: Classes = field(default_factory=Classes)


#: Counters by device; of several windows one after the other, so a device may be there more than once.
Reports = Iterable[tuple[str, ModelCounters]]


def baseline(windows: Sequence[Mapping[str, ModelCounters]], answers: int) -> int:
    """Return how many windows, the oldest first, hold the first `answers` answers; 0 if all do not.

    They are the reference of a release whose bundle has none. The last of `windows` is never one of them.
    """
    seen = 0
    for i, window in enumerate(windows[:-1], 1):
        seen += sum(counters.inferences for counters in window.values())
        if seen >= answers:
            return i
    return 0


def paired(window: Reports, reference: Reports | Reference) -> dict[tuple[Kind, str], tuple[Table, Table]]:
    """Return the tables of each thing that both sides counted in the same bins, those of the window first."""
    new = _Counted.of(window)
    old = _Counted.of_reference(reference) if isinstance(reference, Reference) else _Counted.of(reference)
    pairs: dict[tuple[Kind, str], tuple[Table, Table]] = {}
    for place in sorted(new.bins.keys() & old.bins.keys()):
        bins = _common_length(old.bins[place])
        pairs[place] = (_table(new.bins[place], bins), _table(old.bins[place], bins))
    if new.classes and old.classes:
        kept = _common_classes(chain(new.classes.values(), old.classes.values()))
        pairs["classes", ""] = (_class_table(new.classes, kept), _class_table(old.classes, kept))
    return {place: pair for place, pair in pairs.items() if pair[0].answers and pair[1].answers}


@dataclass
class _Counted:
    """Sums by device, before it is known which bins are compared."""

    bins: dict[tuple[Kind, str], dict[str, npt.NDArray[np.int64]]] = field(default_factory=dict)
    classes: dict[str, Counter[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, reports: Reports) -> _Counted:
        counted = cls()
        for device, counters in reports:
            for feature in counters.features:
                counted.add("feature", feature.name, device, feature.counts)
            counted.add("confidence", "", device, counters.confidence)
            counted.add_classes(device, counters.predicted)
        return counted

    @classmethod
    def of_reference(cls, reference: Reference) -> _Counted:
        counted = cls()
        for name, counts in reference.features.items():
            counted.add("feature", name, "", counts)
        counted.add("confidence", "", "", reference.confidence)
        counted.add_classes("", reference.classes)
        return counted

    def add(self, kind: Kind, name: str, device: str, counts: Sequence[int]) -> None:
        if not counts:
            return
        rows = self.bins.setdefault((kind, name), {})
        added = np.array(counts, np.int64)
        if device in rows and len(rows[device]) == len(added):
            added += rows[device]
        rows[device] = added

    def add_classes(self, device: str, classes: Classes) -> None:
        if classes.classes:
            counted = self.classes.setdefault(device, Counter())
            for number, count in zip(classes.classes, classes.counts, strict=True):
                counted[number] += count


def _common_length(rows: Mapping[str, npt.NDArray[np.int64]]) -> int:
    return Counter(len(row) for row in rows.values()).most_common(1)[0][0]


def _table(rows: Mapping[str, npt.NDArray[np.int64]], bins: int) -> Table:
    fitting = {device: row for device, row in rows.items() if len(row) == bins}
    stacked = np.array([*fitting.values()], np.float64).reshape(-1, bins)
    return Table(tuple(device for device in fitting if device), stacked)


def _common_classes(counted: Iterable[Counter[int]]) -> dict[int, int]:
    """Return the column of each class that is compared apart."""
    total: Counter[int] = Counter()
    for of_device in counted:
        total.update(of_device)
    kept = sorted(number for number, _ in total.most_common(_MOST_CLASSES))
    return {number: column for column, number in enumerate(kept)}


def _class_table(counted: Mapping[str, Counter[int]], columns: Mapping[int, int]) -> Table:
    rows = np.zeros((len(counted), len(columns) + 1))
    for row, of_device in zip(rows, counted.values(), strict=True):
        for number, count in of_device.items():
            row[columns.get(number, len(columns))] += count
    return Table(tuple(device for device in counted if device), rows)
