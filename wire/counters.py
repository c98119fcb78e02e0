"""What a device counts about a model between two reports, in forms that add up.

Sums over time, devices and releases of any of these are counts of the same kind, so figures are
computed from sums and never averaged: the mean of the devices' 99th percentiles is no percentile.

Rules:
- counts are whole, not negative, and at most `MAX_COUNT`; columns that belong together are equally long
  (ValueError otherwise, when it is made);
- what a device has no room for in one report waits for the next one: nothing is left out for good;
- a count of something that is not measured is empty, never zero-filled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: No device counts further between two reports, or between two boots; past it a sum could leave 64 bits.
MAX_COUNT: Final = 2**40

#: Answers of earlier boots that a device may still count as labelled, besides those of its `total`.
MAX_EARLIER: Final = 4_000

#: Confidences of all answers, in bins of 0.05; bin 19 holds 1 as well.
CONFIDENCE_BINS: Final = 20

#: Labelled answers by confidence, in bins of 0.1: what calibration is computed from.
RELIABILITY_BINS: Final = 10

#: A confidence of 1 in the units of `Reliability.confidence`, and the width of a bin in them.
MILLI: Final = 1000
_MILLI_OF_A_BIN: Final = MILLI // RELIABILITY_BINS

#: Classes that are counted apart; a class beyond is none that a person could look at.
MAX_CLASSES: Final = 10_000

#: Numbers of an output of values that are counted apart; of a model that gives more, none are.
MAX_VALUES: Final = 8

#: A larger number is none: sums of squares of these stay finite, however many there are.
MAX_VALUE: Final = 1e100


@dataclass(frozen=True)
class Buckets:
    """A logarithmic histogram (see wire/histogram.py): `counts[i]` belongs to bucket `first + i`."""

    first: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Cells:
    """A confusion matrix without zeros: `counts[i]` answers were `predicted[i]` where `truth[i]` is right."""

    truth: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(self.truth, self.predicted, self.counts)
        _check_classes(self.truth)
        _check_classes(self.predicted)
        _check_counts(self.counts)


@dataclass(frozen=True)
class Classes:
    """How often each class was the answer, without zeros."""

    classes: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(self.classes, self.counts)
        _check_classes(self.classes)
        _check_counts(self.counts)


@dataclass(frozen=True)
class Reliability:
    """Labelled answers by confidence: all, and those that were right; `RELIABILITY_BINS` each, or empty.

    `confidence` are the sums of their confidences in thousandths, so that a bin's mean is known and not taken
    for its middle; empty from a device of before there were any. A sum over devices that tell it and others
    takes the middle for these (fleet/rollup.py).
    """

    labelled: tuple[int, ...] = ()
    correct: tuple[int, ...] = ()
    confidence: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(self.labelled, self.correct)
        _check_bins(self.labelled, RELIABILITY_BINS)
        _check_counts(self.labelled)
        _check_counts(self.correct)
        if any(right > all_ for right, all_ in zip(self.correct, self.labelled, strict=True)):
            raise ValueError("more right answers than answers")
        _check_bins(self.confidence, len(self.labelled))
        for i, (sum_, count) in enumerate(zip(self.confidence, self.labelled, strict=False)):
            low, high = max(0, i * _MILLI_OF_A_BIN - 1), (i + 1) * _MILLI_OF_A_BIN + 1
            if not count * low <= sum_ <= count * high:
                raise ValueError("a mean confidence outside of its bin")


@dataclass(frozen=True)
class FeatureCounts:
    """One feature of the inputs in the bins of the bundle's reference (wire/reference.py)."""

    name: str
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_counts(self.counts)


@dataclass(frozen=True)
class SliceCounters:
    """What was answered, and how much of it rightly, under one tag such as `site=lab`."""

    tag: str
    inferences: int
    labelled: int = 0
    correct: int = 0

    def __post_init__(self) -> None:
        _check_counts((self.inferences, self.labelled, self.correct))
        if self.correct > self.labelled:
            raise ValueError("more right answers than answers")


@dataclass(frozen=True)
class Moments:
    """Finite numbers: how many, their sum, the sum of their squares, the lowest and the highest."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        _check_counts((self.count,))
        most = self.count * MAX_VALUE
        if not (-MAX_VALUE <= self.low <= self.high <= MAX_VALUE and abs(self.total) <= most):
            raise ValueError(f"moments that no {self.count} numbers have")
        if not 0 <= self.squares <= most * MAX_VALUE:
            raise ValueError(f"squares that no {self.count} numbers have")


@dataclass(frozen=True)
class ValueCounters:
    """One number of the first output of a model of values, at `column` of it: what was answered, and by how
    much more than the truth where that is known; `off` is the sum of the errors without their sign."""

    column: int
    answers: Moments = field(default_factory=Moments)
    errors: Moments = field(default_factory=Moments)
    off: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.column < MAX_VALUES or not 0 <= self.off <= self.errors.count * MAX_VALUE:
            raise ValueError(f"column {self.column}, off by {self.off}")


@dataclass(frozen=True)
class ModelCounters:
    """What one release did since the last report of this boot.

    `total` counts inferences since boot, so that the sum of all reports can be checked against it. Labels may
    be those of answers before it, of MAX_EARLIER at most.
    A model of values has no classes: it has `values`, and nothing of it is labelled or correct.
    `golden_runs` self-tests on the bundle's golden set were made, of which `golden_failed` failed.
    """

    release: str
    inferences: int
    errors: int
    latency_us: Buckets
    labelled: int
    correct: int
    total: int
    confusion: Cells = field(default_factory=Cells)
    predicted: Classes = field(default_factory=Classes)
    confidence: tuple[int, ...] = ()
    reliability: Reliability = field(default_factory=Reliability)
    features: tuple[FeatureCounts, ...] = ()
    slices: tuple[SliceCounters, ...] = ()
    golden_runs: int = 0
    golden_failed: int = 0
    values: tuple[ValueCounters, ...] = ()

    def __post_init__(self) -> None:
        _check_bins(self.confidence, CONFIDENCE_BINS)
        _check_counts(self.confidence)
        _check_counts((self.golden_runs, self.golden_failed))
        if len(self.values) > MAX_VALUES:
            raise ValueError(f"{len(self.values)} columns of values")


def _check_columns(*columns: tuple[int, ...]) -> None:
    if len({*map(len, columns)}) != 1:
        raise ValueError("columns of unequal length")


def _check_bins(counts: tuple[int, ...], bins: int) -> None:
    if len(counts) not in (0, bins):
        raise ValueError(f"{len(counts)} bins, not {bins}")


def _check_classes(classes: tuple[int, ...]) -> None:
    if classes and not 0 <= min(classes) <= max(classes) < MAX_CLASSES:
        raise ValueError(f"a class that is not 0 to {MAX_CLASSES - 1}")


def _check_counts(counts: tuple[int, ...]) -> None:
    if counts and not 0 <= min(counts) <= max(counts) <= MAX_COUNT:
        raise ValueError(f"a count that is not 0 to {MAX_COUNT}")
