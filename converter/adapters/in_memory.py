"""Data sets that a Python program holds already: arrays, dicts, tf.data, loaders, generators.

Rules:
- arrays: (x, y), x alone, ((x, y) of train, (x, y) of test) as Keras loads them, or a dict with the
  keys of an npz file;
- a dict of train, val and test may hold anything of this list for each;
- anything that can be iterated gives elements: a sample or a batch, alone or with its truth as
  (inputs, truth); inputs are an array, or a dict of arrays by name;
- whether an element is a batch is told by the model's input shape where it is known, by tf.data, or
  by its truth: one number is a sample's, as many rows as the inputs is a batch's. Else it is a sample;
- what never ends is cut off, and a note says where;
- no library is imported for it: what a foreign tensor is numpy finds out itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from converter.dataset import MEMORY_BYTES, Array, DataOptions, Dataset, Part, Split, without_last_ones
from converter.parts import PART_NAMES, Parts, by_keys, is_key
from converter.splitting import make_dataset
from wire.errors import DataError

#: An accuracy is known to 0.4 points there (one standard error, at worst), and most images still fit.
LIMIT_ROWS: Final = 20_000

_NAME: Final = "the data given"
_DEFAULTS: Final = DataOptions()
_END: Final = object()


def from_python(data: Any, options: DataOptions = _DEFAULTS, *, limit_rows: int = LIMIT_ROWS) -> Dataset:
    """Read, check and divide what a program holds; see the list above.

    Of the options only `shape_hint` matters here. At most `limit_rows` are taken from an iterator.
    Raises DataError for what is none of the list, and for rows that do not fit together.
    """
    return make_dataset(_parts(data, options.shape_hint, limit_rows))


def _parts(data: Any, hint: tuple[int, ...] | None, limit_rows: int) -> Parts:
    if isinstance(data, Mapping):
        if not data or not set(data) <= set(PART_NAMES):
            arrays = {str(key): _array(value, str(key)) for key, value in data.items() if is_key(str(key))}
            return by_keys(arrays, _NAME, [str(key) for key in data if not is_key(str(key))])
        held = {PART_NAMES[name]: value for name, value in data.items()}
    elif _is_keras_style(data):
        names: tuple[Part, ...] = ("train", "test") if len(data) == 2 else ("train", "val", "test")
        held = dict(zip(names, data, strict=True))
    else:
        held = {"": data}
    read = {part: _split(value, part, hint, limit_rows) for part, value in held.items()}
    notes = [note for _, note in read.values() if note]
    return Parts(_NAME, {part: split for part, (split, _) in read.items()}, (), tuple(notes))


def _is_keras_style(data: Any) -> bool:
    return (
        isinstance(data, tuple)
        and len(data) in (2, 3)
        and all(isinstance(part, tuple) and len(part) == 2 for part in data)
    )


def _split(data: Any, part: Part, hint: tuple[int, ...] | None, limit_rows: int) -> tuple[Split, str]:
    """Return the rows of one part, and a note when not all were taken."""
    if isinstance(data, tuple):
        if len(data) not in (1, 2, 3):
            raise DataError(f"{_NAME} is a tuple of {len(data)}: needed is (inputs, truth)")
        truth = _truth(data)
        rows = len(truth) if truth is not None and truth.ndim else None
        return Split(_inputs(data[0], rows), truth, part), ""
    if hasattr(data, "__array__"):
        return Split({"": _array(data, "x")}, None, part), ""
    return _collect(data, part, hint, limit_rows)


def _iterator(data: Any) -> Iterator[Any]:
    if hasattr(data, "as_numpy_iterator"):  # tf.data
        return iter(data.as_numpy_iterator())
    if hasattr(data, "__iter__") and not isinstance(data, str | bytes):
        return iter(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes):
        return (data[position] for position in range(len(data)))
    if callable(data):  # a generator function, as TFLiteConverter's representative_dataset is
        return iter(data())
    raise DataError(f"{_NAME} is of type {type(data).__name__}: give (x, y), a dict, tf.data, or an iterable")


@dataclass(frozen=True)
class _Element:
    """One element of a stream: an array for each input, and what is true of it.

    `listed` is one that came as a list: data loaders and representative_dataset give batches so.
    """

    inputs: Mapping[str, Array]
    truth: Array | None
    listed: bool = False

    def as_batch(self) -> _Element:
        """Return a single sample as a batch of one."""
        truth = None if self.truth is None else self.truth[np.newaxis]
        return _Element({key: array[np.newaxis] for key, array in self.inputs.items()}, truth)


def _element(raw: Any) -> _Element:
    listed = isinstance(raw, list) and bool(raw) and all(hasattr(item, "shape") for item in raw)
    if isinstance(raw, tuple) or listed:
        if len(raw) not in (1, 2, 3):
            raise DataError(f"{_NAME}: an element holds {len(raw)} things: needed is (inputs, truth)")
        truth = _truth(raw)
        return _Element(_inputs(raw[0]), truth, listed)
    return _Element(_inputs(raw), None)


def _is_batch(element: _Element, hint: tuple[int, ...] | None, *, open_first: bool) -> bool:
    arrays = list(element.inputs.values())
    if hint is not None and len(arrays) == 1:
        wanted, shape = without_last_ones(hint), arrays[0].shape
        if without_last_ones(shape) == wanted:
            return False
        if without_last_ones(shape[1:]) == wanted:
            return True
    if open_first or any(array.ndim == 0 for array in arrays):
        return open_first
    if element.truth is None:
        return element.listed
    return element.truth.ndim > 0 and all(len(array) == len(element.truth) for array in arrays)


def _has_open_first_axis(spec: Any) -> bool:
    """Tell whether tf.data says of its elements that they are batches, the last one shorter maybe."""
    while isinstance(spec, tuple | Mapping) and spec:
        spec = spec[0] if isinstance(spec, tuple) else next(iter(spec.values()))
    shape = getattr(spec, "shape", None)
    return bool(shape is not None and shape.rank and shape[0] is None)


def _collect(data: Any, part: Part, hint: tuple[int, ...] | None, limit_rows: int) -> tuple[Split, str]:
    """Read a stream to its end or to a limit; return the rows, and a note when there were more."""
    stream, batches, rows, size_bytes = _iterator(data), [], 0, 0
    batched: bool | None = None
    open_first = _has_open_first_axis(getattr(data, "element_spec", None))
    for raw in stream:
        element = _element(raw)
        if batched is None:
            batched = _is_batch(element, hint, open_first=open_first)
        batch = element if batched else element.as_batch()
        batches.append(batch)
        rows += len(next(iter(batch.inputs.values())))
        size_bytes += sum(array.nbytes for array in batch.inputs.values())
        if rows >= limit_rows or size_bytes >= MEMORY_BYTES:
            break
    split = _joined(batches, part)
    if rows <= limit_rows and next(stream, _END) is _END:
        return split, ""
    few = split.rows(np.arange(min(rows, limit_rows)))
    return few, f"{split.input_name('')} is cut off after {len(few)} rows"


def _joined(batches: list[_Element], part: Part) -> Split:
    if not batches:
        raise DataError(f"{_NAME} has no elements")
    first = batches[0]
    for position, batch in enumerate(batches):
        if batch.inputs.keys() != first.inputs.keys() or (batch.truth is None) != (first.truth is None):
            raise DataError(f"{_NAME}: element {position} has other inputs than the first, or no truth")
    inputs = {key: _concatenated([batch.inputs[key] for batch in batches]) for key in first.inputs}
    truths = [batch.truth for batch in batches if batch.truth is not None]
    return Split(inputs, _concatenated(truths) if truths else None, part)


def _concatenated(arrays: list[Array]) -> Array:
    for position, array in enumerate(arrays):
        if array.shape[1:] != arrays[0].shape[1:]:
            one, usual = list(array.shape[1:]), list(arrays[0].shape[1:])
            raise DataError(f"{_NAME}: a row of element {position} is {one}, of the first {usual}")
    return np.concatenate(arrays)


def _inputs(given: Any, truth_rows: int | None = None) -> dict[str, Array]:
    """Return the arrays by input; several in a list are named by their positions.

    Beside `truth_rows` rows of truth a list may also hold the samples themselves.
    """
    if isinstance(given, Mapping):
        return {str(key): _array(value, f"x.{key}") for key, value in given.items()}
    if isinstance(given, list | tuple) and len(given) > 1 and all(hasattr(one, "__array__") for one in given):
        arrays = [_array(one, "x") for one in given]
        if all(array.ndim > 0 and truth_rows in (None, len(array)) for array in arrays):
            return {str(position): array for position, array in enumerate(arrays)}
    return {"": _array(given, "x")}


def _truth(pair: Sequence[Any]) -> Array | None:
    return _array(pair[1], "y") if len(pair) > 1 and pair[1] is not None else None


def _array(given: Any, what: str) -> Array:
    try:
        array = np.asarray(given)
        text = array.dtype.kind == "O" and all(isinstance(item, str | bytes) for item in array.flat)
        return array.astype(np.float64) if array.dtype.kind == "O" and not text else array
    except (ValueError, TypeError) as error:
        raise DataError(f"{_NAME}: {what} is no array of numbers ({' '.join(str(error).split())})") from error
