"""Numbers of a request into arrays, strictly. Pure.

Rules:
- the expected shape comes from the model: nothing is allocated because a request says that it is large;
- what is no number of the right kind is refused, never converted: no strings, no null, no 1.5 for an
  integer (array.array checks the type and range of each element while it copies);
- every number is finite: not a number and infinity have no JSON, and no code in a quantized tensor.
"""

from __future__ import annotations

from array import array
from itertools import chain
from math import isfinite, prod
from typing import Any, Final

import numpy as np

from edge.backend import Array, Tensor
from edge.web.reply import HttpError, bad_request

#: Deeper nesting than any tensor has.
_DEEPEST: Final = 8

#: Up to here one dot product is the cheapest look at every element.
_SMALL: Final = 4096

#: numpy's code of a type: what array.array calls the same.
_TYPECODES: Final = {
    "f2": "f", "f4": "f", "f8": "d", "b1": "B", "i1": "b", "u1": "B", "i2": "h", "u2": "H",
    "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
}  # fmt: skip


def from_json(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    """Return nested or flat lists of numbers as an array of `shape`; raise HttpError 400."""
    flat, found = flatten(data, name)
    if len(found) > 1 and found != shape:
        raise bad_request(f"input {name!r}: data of shape {list(found)}, expected {list(shape)}")
    if len(flat) != prod(shape):
        raise bad_request(f"input {name!r}: {len(flat)} numbers, shape {list(shape)} has {prod(shape)}")
    return _convert(flat, dtype, name).reshape(shape)


def from_bytes(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> Array:
    """Return little-endian bytes as an array of `shape`, without a copy; raise HttpError 400."""
    size = prod(shape) * dtype.itemsize
    if len(data) != size:
        raise bad_request(f"input {name!r}: {len(data)} bytes, shape {list(shape)} of {dtype} has {size}")
    if dtype.kind == "b":
        return _to_bool(np.frombuffer(data, np.uint8), name).reshape(shape)
    values = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)
    if dtype.kind == "f":
        check_finite(values, name)
    return values


def flatten(data: Any, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """Return the innermost elements of equally long nested lists, and the shape; raise HttpError 400.

    The elements may be anything but lists.
    """
    if data.__class__ is not list:
        return [data], ()
    shape = [len(data)]
    while data and data[0].__class__ is list:
        inner = len(data[0])
        for row in data:
            if row.__class__ is not list or len(row) != inner:
                raise bad_request(f"input {name!r}: lists of different lengths")
        shape.append(inner)
        if len(shape) > _DEEPEST:
            raise bad_request(f"input {name!r}: nested more than {_DEEPEST} deep")
        data = list(chain.from_iterable(data))
    return data, tuple(shape)


def check_finite(values: Array, name: str) -> None:
    """Raise HttpError 400 if a number is infinite or none at all."""
    flat = values.ravel()
    if flat.size <= _SMALL and values.dtype.itemsize > 2 and isfinite(flat.dot(flat)):
        return
    if not np.isfinite(flat).all():
        raise bad_request(f"input {name!r} has numbers that are infinite or no numbers")


def narrowed(values: Array, name: str) -> Array:
    """Return floats of any size as float32, which models take; raise HttpError 400 for what is too large."""
    if values.dtype != np.float64:
        return values.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    check_finite(narrow, name)
    return narrow


def accepts_rows(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> bool:
    """Tell whether a request may hold several inputs: every tensor has a batch dimension of one."""
    return all(tensor.shape[:1] == (1,) for tensor in (*inputs, *outputs))


def _convert(flat: list[Any], dtype: np.dtype[Any], name: str) -> Array:
    try:
        copied = array(_TYPECODES[dtype.str[1:]], flat)
    except (TypeError, OverflowError) as error:
        raise _no_number(flat, dtype, name) from error
    if dtype.kind == "b":
        return _to_bool(np.frombuffer(copied, np.uint8), name)
    values: Array = np.frombuffer(copied, copied.typecode)
    if dtype.kind == "f":
        if values.dtype != dtype:
            with np.errstate(over="ignore"):
                values = values.astype(dtype)
        check_finite(values, name)
    return values


def _to_bool(values: Array, name: str) -> Array:
    if values.size and values.max() > 1:
        raise bad_request(f"input {name!r}: true or false, or 0 or 1")
    return values.view(np.bool_)


def _no_number(flat: list[Any], dtype: np.dtype[Any], name: str) -> HttpError:
    kind = {"f": "a number", "b": "true or false"}.get(dtype.kind, f"an integer of {dtype}")
    wrong = next((v for v in flat if v.__class__ not in (int, float, bool)), None)
    if wrong.__class__ is dict and "b64" in wrong:
        return bad_request(f"input {name!r}: base64 strings are for string tensors, this one holds {dtype}")
    return bad_request(f"input {name!r}: each element must be {kind}")
