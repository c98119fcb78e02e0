"""A scaler in front of a model: the steps that it takes, each number for itself. Pure numpy.

Rules:
- the steps are kept as their library takes them, so that a threshold can be moved in front of them
  without changing one answer;
- a scaler never goes into the weights behind it: quantized together with them, a column of large numbers
  takes the grid of all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from converter.source import Array

_LARGEST: Final = np.finfo(np.float32).max


@dataclass(frozen=True)
class Step:
    """One operation on each column: `values` float64 [columns], or (lowest, highest) of a `clip`."""

    kind: Literal["subtract", "divide", "multiply", "add", "clip"]
    values: Array


@dataclass(frozen=True)
class Affine:
    """The same as (x - offset) * factor, float64 [columns] each, then held within `limits`."""

    offset: Array
    factor: Array
    limits: tuple[float, float] | None


def scaled(steps: Sequence[Step], numbers: Array, columns: Array) -> Array:
    """Return `numbers` float64 [...] after the steps; `columns` [...] says of which column each is."""
    for step in steps:
        if step.kind == "clip":
            numbers = np.clip(numbers, step.values[0], step.values[1])
            continue
        values = step.values[columns]
        if step.kind == "subtract":
            numbers = numbers - values
        elif step.kind == "divide":
            numbers = numbers / values
        elif step.kind == "multiply":
            numbers = numbers * values
        else:
            numbers = numbers + values
    return numbers


def affine(steps: Sequence[Step], columns: int) -> Affine:
    """Return the steps as one subtraction and one multiplication; a `clip` may only come last."""
    offset, factor = np.zeros(columns), np.ones(columns)
    limits = None
    for step in steps:
        if step.kind == "subtract":
            offset = offset + step.values / factor
        elif step.kind == "divide":
            factor = factor / step.values
        elif step.kind == "multiply":
            factor = factor * step.values
        elif step.kind == "add":
            offset = offset - step.values / factor
        else:
            limits = (float(step.values[0]), float(step.values[1]))
    return Affine(offset, factor, limits)


def thresholds_before(steps: Sequence[Step], thresholds: Array, columns: Array, *, in_float32: bool) -> Array:
    """Return float32 thresholds for the numbers in front of the steps that decide alike, for every float32.

    Each is the largest float32 x whose scaled number is not above the threshold (float64 [n], of column
    `columns` [n]); steps rise, so halving finds it. `in_float32`: the scaled number is rounded before it
    is compared. Where even the lowest float is above, it is minus infinity.
    """

    def passes(candidates: Array) -> Array:
        numbers = scaled(steps, candidates.astype(np.float64), columns)
        return np.asarray((numbers.astype(np.float32) if in_float32 else numbers) <= thresholds)

    with np.errstate(over="ignore"):
        low = np.full(len(thresholds), _order(np.float32(-_LARGEST)), np.int64)
        high = np.full(len(thresholds), _order(_LARGEST), np.int64)
        none = ~passes(_float(low))
        while (low < high).any():
            middle = (low + high + 1) // 2
            good = passes(_float(middle))
            low, high = np.where(good, middle, low), np.where(good, high, np.maximum(low, middle - 1))
    return np.where(none, np.float32(-np.inf), _float(low)).astype(np.float32)


def _order(number: np.float32) -> int:
    """Return the place of a float32 among all of them: as its bits, but in the order of size."""
    bits = int(number.view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _float(order: Array) -> Array:
    magnitude = np.abs(order).astype(np.int32).view(np.float32)
    return np.asarray(np.where(order < 0, -magnitude, magnitude))
