"""A data set: its rows as they were read, and bound to a model's inputs. Pure.

Rules:
- inputs and truth are numbers, finite, one sample a row;
- a reader keeps the numbers as they are; only `bind` gives them the model's shape and dtype, and no
  value changes there but by rounding to the input's float;
- shapes may differ by axes of length 1 at their end. Anything more is a guess at the order of axes,
  which a model answers wrongly and in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from converter.source import InputSpec
from wire.errors import DataError
from wire.manifest import Preprocessing

Array = npt.NDArray[Any]

#: The parts that a set may be divided into when it is read; "" is one that is not divided yet.
Part = Literal["", "train", "val", "test"]
#: How an image's 0..255 becomes the model's input: as it is, divided by 255, or from -1 to 1.
Scale = Literal["raw", "unit", "signed"]
SCALES: Final[tuple[Scale, ...]] = get_args(Scale)

#: What the arrays of a set may take before the machine is likely to run out of memory for it.
MEMORY_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True)
class DataOptions:
    """What the user may say about a data set; a reader ignores what is not about its form.

    `target` is a table's column of truth ("": it has none, None: found by its name). Images are
    resized to `image_size` (height, width) and given `channels` (1 or 3). `shape_hint` is the
    model's input without the batch, where it is known before: it settles both, and how the elements
    of a stream are meant. `preprocessing` says what becomes of pixels instead of `scale`.
    """

    target: str | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    scale: Scale = "unit"
    shape_hint: tuple[int, ...] | None = None
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True)
class Split:
    """Some rows of a data set as read, before they meet a model.

    `inputs` has the key "" for the only input, else the names of the inputs. `truth` is [n] or
    [n, ...] numbers, None when nothing is known. `part` is where the rows come from.
    """

    inputs: Mapping[str, Array]
    truth: Array | None
    part: Part = ""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def truth_name(self) -> str:
        """What messages call the truth: "y_test"."""
        return f"y_{self.part}" if self.part else "y"

    def input_name(self, key: str) -> str:
        """Return what messages call the input `key`: "x_test", "x_test.left"."""
        return (f"x_{self.part}" if self.part else "x") + (f".{key}" if key else "")

    def rows(self, rows: Array) -> Split:
        """Return the rows with these numbers, in this order."""
        truth = None if self.truth is None else self.truth[rows]
        return replace(self, inputs={key: array[rows] for key, array in self.inputs.items()}, truth=truth)


@dataclass(frozen=True)
class Dataset:
    """A whole, checked data set: `train` calibrates and fine-tunes, `choose` decides, `test` reports.

    `name` begins every message about it, `labels` names the classes (may be empty), `notes` are
    what the reader decided, a line each. `sha256` is the file's, or of a folder that of its sorted
    lines of digest and name ("" of what a program holds); `preprocessing` is how a device makes an
    input from a raw sample; `columns` are the names of the numbers of a row, where the data has some.
    """

    name: str
    train: Split
    choose: Split
    test: Split
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sha256: str = ""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Rows for a model: an array [n, ...] for each of its inputs, in its order and dtypes."""

    inputs: tuple[Array, ...]
    truth: Array | None


def check_numbers(array: Array, what: str) -> None:
    """Raise DataError, beginning with `what`, unless `array` holds finite numbers in rows."""
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} holds {array.dtype}, not numbers")
    if array.ndim == 0 or 0 in array.shape:
        raise DataError(f"{what} has shape {list(array.shape)}: needed are rows of samples")
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            rows, first = int(bad.sum()), int(np.argmax(bad))
            raise DataError(f"{what} holds NaN or infinity in {rows} rows, first in row {first}")


def check_memory(count: int, shape: Sequence[int], item_bytes: int, name: str) -> None:
    """Raise DataError when `count` samples of `shape` are more than fit into memory."""
    needed = count * item_bytes * prod(shape)
    if needed > MEMORY_BYTES:
        raise DataError(
            f"{name}: {count} samples of {'x'.join(map(str, shape))} take {needed / 2**30:.1f} GiB, "
            f"more than {MEMORY_BYTES / 2**30:.0f} GiB: give fewer, a part of them measures as well"
        )


def looks_unscaled(inputs: Array) -> bool:
    """Tell whether `inputs` [n, ...] look like bytes: 0 to 255 and whole, or nearly up to 255.

    A table of ages looks so too. It is a hint for a model that answers at chance, no error.
    """
    lowest, highest = float(inputs.min()), float(inputs.max())
    if lowest < 0 or not 2 < highest <= 255:
        return False
    few = inputs[:: max(1, len(inputs) // 256)]
    return highest > 200 or float(np.mean(few == np.rint(few))) > 0.9


def bind(split: Split, inputs: Sequence[InputSpec], name: str) -> Samples:
    """Return the rows of `split` as the model takes them; `name` begins an error's line: "d.npz: x_test".

    Inputs find each other by name; an only one needs none, and the names 0, 1, … are positions.
    Raises DataError for an input that is not there or not known, for shapes that differ by more
    than axes of length 1 at their end, and for numbers that the input's dtype cannot hold.
    """
    keys = _keys(list(split.inputs), [spec.name for spec in inputs], name)
    bound = [
        _bound(split.inputs[key], spec, f"{name}.{key}" if key else name)
        for key, spec in zip(keys, inputs, strict=True)
    ]
    return Samples(tuple(bound), split.truth)


def _keys(held: list[str], wanted: list[str], name: str) -> list[str]:
    """Return which of the inputs `held` is the model's first, second, …"""
    if len(held) == len(wanted) == 1:
        return held
    positions = [str(position) for position in range(len(wanted))]
    if set(held) == set(positions):
        return positions
    needed = f"the model takes {', '.join(wanted)}"
    for key in wanted:
        if key not in held:
            raise DataError(f"{name}.{key} is not there: {needed}")
    for key in held:
        if key not in wanted:
            raise DataError(f"{name}.{key} is no input of the model: {needed}")
    return wanted


def _bound(array: Array, spec: InputSpec, what: str) -> Array:
    row = array.shape[1:]
    if without_last_ones(row) != without_last_ones(spec.shape):
        do = "reshape" if prod(row) == prod(spec.shape) else "prepare"
        raise DataError(
            f"{what}: a row is {list(row)}, the model takes {list(spec.shape)}: {do} it as in training"
        )
    check_numbers(array, what)
    rows = array.reshape(len(array), *spec.shape)
    if spec.dtype.startswith("float"):
        return _as_float(rows, spec, what)
    if spec.dtype.startswith(("int", "uint", "bool")):
        return _as_whole(rows, spec, what)
    raise DataError(f"{what}: the model takes {spec.dtype}, only numbers can be given")


def without_last_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` without the ones at its end: what must be equal for rows to fit."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _as_float(rows: Array, spec: InputSpec, what: str) -> Array:
    with np.errstate(over="ignore"):  # said in the next line, and with the value
        numbers = rows.astype(spec.dtype, copy=False)
    if not np.isfinite(numbers).all():
        raise DataError(f"{what} reaches {float(np.abs(rows).max()):.3g}, which {spec.dtype} cannot hold")
    return numbers


def _as_whole(rows: Array, spec: InputSpec, what: str) -> Array:
    if rows.dtype.kind == "f" and (fractions := rows != np.rint(rows)).any():
        first = int(np.argmax(fractions.reshape(len(rows), -1).any(axis=1)))
        raise DataError(f"{what} has fractions (first in row {first}), the model takes {spec.dtype}")
    lowest, highest = (0, 1) if spec.dtype == "bool" else _range(spec.dtype)
    if rows.min() < lowest or rows.max() > highest:
        raise DataError(
            f"{what} goes from {rows.min():g} to {rows.max():g}, "
            f"the model takes {spec.dtype} ({lowest} to {highest})"
        )
    return rows.astype(spec.dtype, copy=False)


def _range(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
