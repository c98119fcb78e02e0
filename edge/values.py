"""What a model of values answers, and by how much it is off: counts that add up (wire/counters.py). Pure.

Rules:
- each number of the first output counts apart; a model that gives more than MAX_VALUES is not counted;
- what is not finite, or larger than MAX_VALUE, is no number, and in no count;
- a truth is one number, so only a model that gives one is held against it; an error is what was answered
  less the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.backend import Array, Tensor
from edge.tensors import OutputReader
from wire.counters import MAX_VALUE, Moments, ValueCounters
from wire.manifest import Manifest
from wire.scores import values_width


class ValueReader:
    """Reads raw first outputs of one model. Make it by `values_for`."""

    def __init__(self, tensor: Tensor, width: int) -> None:
        self._reader = OutputReader(tensor)
        self.width = width

    def read(self, raw: Array) -> Array:
        """Return the values of n rows, float64 [n, width]."""
        return self._reader.read(np.ascontiguousarray(raw)).reshape(-1, self.width).astype(np.float64)


def values_for(outputs: Sequence[Tensor], manifest: Manifest | None) -> ValueReader | None:
    """Return how the answers of a model are read as values; None where they are none."""
    if manifest is None or outputs[0].dtype.kind not in "iuf":
        return None
    width = values_width(manifest.task, manifest.postprocessing, outputs[0].shape)
    return ValueReader(outputs[0], width) if width else None


class ValueCounts:
    """The counts of one release. Whoever owns it keeps two threads out of it."""

    def __init__(self) -> None:
        self._columns: dict[int, ValueCounters] = {}

    def answered(self, values: Array) -> None:
        """Count answers, float64 [n, width]."""
        for column in range(values.shape[1]):
            self._add(ValueCounters(column, moments(values[:, column])))

    def judged(self, values: Array, truths: Array) -> None:
        """Count answers whose truth is known: float64 [n, width], and [n] with NaN for an unknown one."""
        if values.shape[1] == 1:
            errors = values[:, 0] - truths
            self._add(ValueCounters(0, errors=moments(errors), off=float(np.abs(_numbers(errors)).sum())))

    def take(self) -> tuple[ValueCounters, ...]:
        """Return what was counted since the last time."""
        taken, self._columns = self._columns, {}
        return tuple(one for _, one in sorted(taken.items()) if one.answers.count or one.errors.count)

    def _add(self, more: ValueCounters) -> None:
        before = self._columns.get(more.column)
        self._columns[more.column] = more if before is None else _together(before, more)


def moments(numbers: Array) -> Moments:
    """Return the moments of the numbers among `numbers`, float64 [n]."""
    kept = _numbers(numbers)
    if not len(kept):
        return Moments()
    sums = kept.sum(), np.square(kept).sum(), kept.min(), kept.max()
    return Moments(len(kept), *map(float, sums))


def _together(one: ValueCounters, other: ValueCounters) -> ValueCounters:
    return ValueCounters(
        one.column, _added(one.answers, other.answers), _added(one.errors, other.errors), one.off + other.off
    )


def _added(one: Moments, other: Moments) -> Moments:
    if not one.count or not other.count:
        return one if one.count else other
    return Moments(
        one.count + other.count,
        one.total + other.total,
        one.squares + other.squares,
        min(one.low, other.low),
        max(one.high, other.high),
    )


def _numbers(values: Array) -> Array:
    kept: Array = values[np.abs(values) < MAX_VALUE]
    return kept
