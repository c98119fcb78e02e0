"""Rows of a batch: from the arrays that a caller gives to single inputs, and back. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.backend import Array, Tensor
from edge.tensors import as_array
from wire.errors import InputError


def rows_of(inputs: Any, tensors: tuple[Tensor, ...]) -> list[Any]:
    """Split `inputs`, whose arrays are [n, …], into n inputs of one call each.

    Accepts an array for a model of one input, else a mapping by name or a sequence by position.
    Raises InputError when the arrays have no rows or not equally many.
    """
    if len(tensors) == 1 and not isinstance(inputs, Mapping):
        return list(_column(inputs, tensors[0].key))
    if isinstance(inputs, Mapping):
        columns = {name: _column(values, str(name)) for name, values in inputs.items()}
    elif isinstance(inputs, (list, tuple)) and len(inputs) == len(tensors):
        columns = {t.key: _column(values, t.key) for t, values in zip(tensors, inputs, strict=True)}
    else:
        raise InputError(f"the model takes {len(tensors)} inputs: a mapping by name, or a list")
    counts = {len(column) for column in columns.values()}
    if len(counts) != 1:
        raise InputError(f"inputs have different numbers of rows: {sorted(counts)}")
    return [{name: column[n] for name, column in columns.items()} for n in range(counts.pop())]


def join(raws: list[tuple[Array, ...]], tensors: tuple[Tensor, ...]) -> tuple[Array, ...]:
    """Put the outputs of single calls together: [n, …] for each output tensor.

    Raises InputError when a model answers with other shapes from row to row.
    """
    if not raws:
        return tuple(np.empty((0, *tensor.shape[1:]), tensor.dtype) for tensor in tensors)
    try:
        return tuple(_stack([raw[i] for raw in raws], tensor) for i, tensor in enumerate(tensors))
    except ValueError as error:
        raise InputError(f"the rows' answers have different shapes, ask one by one: {error}") from error


def _stack(outputs: list[Array], tensor: Tensor) -> Array:
    if tensor.shape[:1] != (1,):
        return np.stack(outputs)
    if any(len(output) != 1 for output in outputs):
        raise ValueError("an answer has not one row")
    return np.concatenate(outputs)


def _column(values: Any, name: str) -> Array:
    column = as_array(values, name)
    if not column.ndim:
        raise InputError(f"input {name!r} has no rows")
    return column
