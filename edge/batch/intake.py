"""What the model takes, and which columns, arrays and numbers become that. Pure numpy.

Rules:
- columns go to the inputs in order, each taking as many as it has elements; names choose and order
  them, without names they are all numeric ones, and their number must be exactly right;
- an array in the input's own shape is taken as it is, as `predict` takes it;
- an array of bytes for a model that prepares images holds pictures, and they are prepared;
- a missing value, text and what is not finite, or would not be as the model takes it (1e39 as a
  float32), are refused, in arrays too: how to fill a gap was
  decided in training, and an integer model would answer something.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.backend import Array, Tensor
from edge.tensors import as_taken
from wire.errors import DataError
from wire.manifest import Preprocessing

#: What pandas calls the row numbers that it writes along.
_INDEX_NAMES: Final = ("", "Unnamed: 0", "__index_level_0__")
#: Arrays of an npz that are the inputs of a model of one, the first that is there.
_ARRAY_NAMES: Final = ("x_test", "x")
_SHOWN_NAMES: Final = 6


@dataclass(frozen=True)
class Layout:
    """How an array holds samples: `rows` of them, or a single one; `raw` ones are still to be prepared."""

    rows: int
    row_shape: tuple[int, ...]
    single: bool
    raw: bool


@dataclass(frozen=True)
class Intake:
    """What a model takes. `columns` are the names to take it from, `truth` where the truth is."""

    tensors: tuple[Tensor, ...]
    preprocessing: Preprocessing
    columns: tuple[str, ...] = ()
    truth: str = ""

    @property
    def needed(self) -> int:
        """How many numbers a row has."""
        return sum(math.prod(row_shape(tensor)) for tensor in self.tensors)

    def from_numbers(self, numbers: Sequence[float] | Array) -> Any:
        """Return what `predict` takes for the `needed` finite numbers; raise DataError for unfit ones."""
        values = np.asarray(numbers, np.float64)
        parts: list[Array] = []
        start = 0
        for tensor in self.tensors:
            shape = row_shape(tensor)
            end = start + math.prod(shape)
            parts.append(_cast(values[start:end], tensor).reshape(shape))
            start = end
        return parts[0] if len(parts) == 1 else parts

    def choose_columns(self, names: Sequence[str], numeric: Sequence[bool]) -> tuple[int, ...]:
        """Return the places of the columns to take; raise DataError when they are not as many as needed."""
        if self.columns:
            self.place_of_truth(names)
            chosen = [_place(names, name) for name in self.columns]
            how = f"--columns names {len(chosen)}"
        else:
            truth = self.place_of_truth(names)
            chosen = [i for i, one in enumerate(numeric) if one and i != truth]
            if len(chosen) == self.needed + 1 and names[chosen[0]] in _INDEX_NAMES:
                del chosen[0]
            how = f"there are {len(chosen)} columns of numbers ({_some(names[i] for i in chosen)})"
        if len(chosen) != self.needed:
            hint = "" if self.columns else ": choose with --columns A,B,…"
            raise DataError(f"{how}, the model takes {self.needed} numbers{hint}")
        return tuple(chosen)

    def place_of_truth(self, names: Sequence[str]) -> int | None:
        """Return the place of the truth's column, None when none was asked for."""
        return _place(names, self.truth) if self.truth else None

    def choose_arrays(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the array for each input, in the inputs' order; raise DataError when that is unclear."""
        if self.columns:
            if len(self.columns) != len(self.tensors):
                raise DataError(f"--columns names {len(self.columns)}, the model takes {len(self.tensors)}")
            return tuple(names[_place(names, name)] for name in self.columns)
        by_key = tuple(next((n for n in (t.key, t.name) if n in names), None) for t in self.tensors)
        if None not in by_key:
            return tuple(name for name in by_key if name is not None)
        if len(self.tensors) > 1:
            wanted = ", ".join(tensor.key for tensor in self.tensors)
            raise DataError(
                f"it holds {_some(names)}, the model takes {wanted}: --columns names them in order"
            )
        others = [name for name in names if name != self.truth]
        for name in (*_ARRAY_NAMES, *(others if len(others) == 1 else ())):
            if name in names:
                return (name,)
        raise DataError(f"it holds {_some(names)}: --columns NAME says which array to take")

    def layout(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], number: int = 0) -> Layout:
        """Return how the array `name` holds samples of input `number`; raise DataError when it does not."""
        wanted = row_shape(self.tensors[number])
        kind = self.preprocessing.kind if number == 0 else "none"
        if kind == "image" and dtype == np.uint8 and len(shape) in (2, 3, 4):
            coloured = len(shape) == 4 or (len(shape) == 3 and shape[2] == 3)
            single = len(shape) == 2 + coloured
            return _layout(shape, single=single, raw=True)
        if shape[1:] in (wanted, (1, *wanted)):
            return _layout(shape, single=False, raw=False)
        if shape == wanted:
            return _layout(shape, single=True, raw=False)
        if kind in ("wave", "log-mel") and len(shape) in (1, 2):
            return _layout(shape, single=len(shape) == 1, raw=True)
        raise DataError(f"array {name!r} is {list(shape)} of {dtype}, the model takes rows of {list(wanted)}")


def row_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return a tensor's shape without the batch."""
    return tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape


def finite_numbers(texts: Sequence[str], names: Sequence[str]) -> list[float]:
    """Return the numbers that `texts` of the columns `names` say; raise DataError for what is none."""
    try:
        numbers = [float(text) for text in texts]
        if math.isfinite(sum(numbers)):
            return numbers
    except ValueError:
        pass
    for text, name in zip(texts, names, strict=True):
        if problem := _problem(text):
            raise DataError(f"column {name!r} {problem}")
    return [float(text) for text in texts]  # the sum alone was too large


def numeric_columns(rows: Sequence[Sequence[str]], count: int) -> list[bool]:
    """Tell for `count` columns whether most of what some rows hold in them are numbers.

    A gap says nothing, and a slip of the pen is its row's problem.
    """
    numeric = []
    for place in range(count):
        texts = [row[place] for row in rows if place < len(row) and row[place].strip()]
        numeric.append(bool(texts) and 2 * sum(map(is_number, texts)) > len(texts))
    return numeric


def is_number(text: str) -> bool:
    """Tell whether `text` is a number; `nan` is one here, and refused in its row."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _problem(text: str) -> str:
    if not text.strip():
        return "is missing"
    if not is_number(text):
        return f"holds {text[:40]!r}, which is no number"
    return "" if math.isfinite(float(text)) else f"is {text.strip()[:40]}"


def _cast(values: Array, tensor: Tensor) -> Array:
    """Return values in the dtype that the tensor takes them in: float32 for a quantized one."""
    if tensor.quantized or tensor.dtype.kind == "f":
        taken = as_taken(values, tensor)
        if not (finite := np.isfinite(taken)).all():
            raise DataError(f"input {tensor.key!r} takes {taken.dtype}, {values[~finite][0]:g} is too large")
        return taken
    with np.errstate(invalid="ignore"):
        whole = values.astype(tensor.dtype)
    if not np.array_equal(whole, values):
        bad = values[whole != values][0]
        raise DataError(f"input {tensor.key!r} takes {tensor.dtype}, {bad:g} is none")
    return whole


def _layout(shape: tuple[int, ...], *, single: bool, raw: bool) -> Layout:
    return (
        Layout(1, shape, single=True, raw=raw)
        if single
        else Layout(shape[0], shape[1:], single=False, raw=raw)
    )


def _place(names: Sequence[str], name: str) -> int:
    if names.count(name) != 1:
        state = "is there twice" if name in names else f"is not there, but {_some(names)}"
        raise DataError(f"the column or array {name!r} {state}")
    return names.index(name)


def _some(names: Any) -> str:
    every = list(names)
    shown = ", ".join(str(name)[:40] for name in every[:_SHOWN_NAMES])
    return shown + (" …" if len(every) > _SHOWN_NAMES else "") or "nothing"
