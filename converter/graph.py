"""A TFLite model as tensors and the operators between them, and which of it has to stay float. Pure.

Rules:
- a scaler in front of a model stays float32 in every recipe that computes in integers. One scale
  for columns of 0.1 and of 1,680 leaves the small ones a single code: scikit-learn's wine behind a
  Keras Normalization layer fell from 97.2 to 62.5 % as int8, and keeps 97.2 % by this rule;
- it is found by the graph (an input, then additions and multiplications with constants), not by
  names: a converter names them as it likes. One whose columns are of one scale, such as an image's
  three colours, costs nothing and may become int8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from converter.recipes import Ranges
from converter.source import SCALER_MARK

Array = npt.NDArray[Any]

#: By how much coarser than its own code the code of an input may make a column: 64 of 256 codes are left.
_COARSEST: Final = 4.0
_AFFINE: Final = frozenset({"ADD", "SUB", "MUL", "DIV"})


@dataclass(frozen=True)
class Tensor:
    """One tensor of a model file.

    `dtype` is numpy's name, or one that numpy lacks (int4). `values` are a constant's, None where
    numpy lacks its dtype. `scales` and `zero_points` have one entry, or one for each channel, or
    none in a tensor that is not quantized; a tensor in blocks has its scales elsewhere.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool = False
    values: Array | None = field(default=None, repr=False, compare=False)
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    blocks: bool = False

    @property
    def quantized(self) -> bool:
        return bool(self.scales) or self.blocks


def short(name: str) -> str:
    """Return the last part of a tensor's name: of several layers in one operator, it has all their names."""
    return name.rsplit(";", 1)[-1]


@dataclass(frozen=True)
class Call:
    """One operator in the order of execution; `takes` and `gives` are positions of tensors, -1 for none."""

    operator: str
    takes: tuple[int, ...]
    gives: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A model, or the body of one of its loops; `inputs` and `outputs` are positions of tensors."""

    tensors: tuple[Tensor, ...]
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def taken(self, call: Call) -> list[Tensor]:
        return [self.tensors[position] for position in call.takes if position >= 0]

    def given(self, call: Call) -> list[Tensor]:
        return [self.tensors[position] for position in call.gives if position >= 0]

    def own_names(self, call: Call) -> list[str]:
        """Return the names that tell which layer a call is of: its outputs' and its constants'."""
        constants = [tensor.name for tensor in self.taken(call) if tensor.constant]
        return [tensor.name for tensor in self.given(call)] + constants

    def users(self, position: int) -> Iterator[tuple[int, Call]]:
        """Yield the calls that take a tensor, with their numbers."""
        return ((number, call) for number, call in enumerate(self.calls) if position in call.takes)


def float_calls(graph: Graph, ranges: Ranges) -> frozenset[int]:
    """Return the numbers of the calls that have to stay float32 where activations become integers.

    These are scalers: those that are marked as such, and those at the inputs whose columns differ
    so much that the codes of the input are too coarse for the finest of them.
    """
    marked = {
        number
        for number, call in enumerate(graph.calls)
        if any(SCALER_MARK in name for name in graph.own_names(call))
    }
    found = set(marked)
    for position in graph.inputs:
        if graph.tensors[position].dtype == "float32":
            whole = _span(ranges, graph.tensors[position])
            found |= _scaler(graph, _Scaled(position, np.float64(1.0)), whole, ranges)
    return frozenset(found)


@dataclass(frozen=True)
class _Scaled:
    """A tensor that is nothing but an input scaled: by how much, for each column, and by which calls."""

    position: int
    gain: Any
    calls: tuple[int, ...] = ()


def _scaler(graph: Graph, at: _Scaled, whole: float | None, ranges: Ranges) -> set[int]:
    """Follow additions and multiplications on; return the calls of those that are scalers.

    `whole` is the span of the input that they begin at, None when it is not known.
    """
    found: set[int] = set()
    users = list(graph.users(at.position))
    gains = [_gain(graph, call, at.position, at.gain) for _, call in users]
    for (number, call), gain in zip(users, gains, strict=True):
        if gain is not None:
            found |= _scaler(graph, _Scaled(call.gives[0], gain, (*at.calls, number)), whole, ranges)
    last = not users or any(gain is None for gain in gains)
    if last and at.calls and np.size(at.gain) > 1:
        own = _span(ranges, graph.tensors[at.position])
        if whole is None or own is None or whole * np.abs(at.gain).max() > _COARSEST * own:
            found |= set(at.calls)
    return found


def _gain(graph: Graph, call: Call, position: int, gain: Any) -> Any | None:
    """Return how much the output of `call` changes with the input, for each column; None: it is no scaling.

    An addition of a column's own number has the gain 1 for each: it may be all that a scaler does.
    """
    if call.operator == "CAST":
        return gain
    if call.operator not in _AFFINE or len(call.takes) != 2:
        return None
    first = call.takes[0] == position
    other = graph.tensors[call.takes[1 if first else 0]].values
    if other is None or (call.operator == "DIV" and not first):
        return None
    if call.operator in ("ADD", "SUB"):
        return gain * np.ones_like(other, np.float64)
    with np.errstate(divide="ignore"):
        return gain * other if call.operator == "MUL" else gain / other


def _span(ranges: Ranges, tensor: Tensor) -> float | None:
    """Return the span that a tensor's codes have to cover: 0 is always among them."""
    if tensor.name not in ranges:
        return None
    lowest, highest = ranges[tensor.name]
    return max(highest, 0.0) - min(lowest, 0.0)
