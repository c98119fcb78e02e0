"""Dynamic batching: single requests that are answered together. Pure.

Off by default: on a CPU a batch of a convolutional network is no faster than its rows one after the
other, and up to 35 % slower. It is for tiny dense models behind many clients.

Rules:
- a batch goes when it is full, or when its first row has waited long enough;
- rows go together only if their arrays have the same types: integers of one request are codes, floats
  of another are not;
- every batch is filled up with zeros to its full size, so that the model is resized once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from edge.backend import Array

T = TypeVar("T")

#: Types of the arrays of a request, by input.
Kind = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Batching:
    """How large a batch may be, and how long its first row waits for others."""

    rows: int
    wait_s: float = 0.001


class Gathering(Generic[T]):
    """Rows that wait to be answered together, by kind."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._waiting: dict[Kind, list[T]] = {}

    def add(self, kind: Kind, row: T) -> tuple[int, list[T] | None]:
        """Add a row; return how many of its kind wait, and a full batch if it made one."""
        waiting = self._waiting.setdefault(kind, [])
        waiting.append(row)
        if len(waiting) < self._rows:
            return len(waiting), None
        return len(waiting), self._waiting.pop(kind)

    def take(self, kind: Kind) -> list[T]:
        """Return what waits of a kind, its time being up; nothing if it has gone already."""
        return self._waiting.pop(kind, [])


def kind_of(values: Mapping[str, Array]) -> Kind:
    """Return what rows must have in common to go together."""
    return tuple((name, array.dtype.str) for name, array in sorted(values.items()))


def stack(rows: Sequence[Mapping[str, Array]], size: int) -> dict[str, Array]:
    """Return arrays [size, …] of rows that are [1, …] each, filled up with zeros."""
    stacked = {}
    for name, first in rows[0].items():
        whole = np.zeros((size, *first.shape[1:]), first.dtype)
        np.concatenate([row[name] for row in rows], out=whole[: len(rows)])
        stacked[name] = whole
    return stacked
