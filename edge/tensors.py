"""Values in and out of tensors: checks, quantization, dequantization. Pure numpy.

real = scale * (integer - zero_point) is the TFLite quantization specification. Rounding is to the
nearest integer, ties to even (numpy's `rint`); the reference kernel rounds ties away from zero, so
an input exactly between two codes may differ by one code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from edge.backend import Array, InputMemory, Tensor
from wire.errors import InputError

_BYTE_CODES: Final = 256


def as_taken(array: Array, tensor: Tensor) -> Array:
    """Return floats as the tensor takes them: in its own kind, float32 where they are quantized.

    What is too large for that is infinite. Other arrays are returned as they are.
    """
    if array.dtype.kind != "f":
        return array
    wanted = tensor.dtype if tensor.dtype.kind == "f" else np.dtype(np.float32)
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore"):
        return array.astype(wanted)


class InputWriter:
    """Writes values into one input tensor's memory, quantizing on the way.

    The scratch arrays and the constants are made once: a call allocates nothing that grows with the
    input, and converts no Python number.
    """

    def __init__(self, tensor: Tensor, view: InputMemory) -> None:
        self._tensor = tensor
        self._dtype = tensor.dtype
        self._view = view
        self._shapes = (tensor.shape, tensor.shape[1:]) if tensor.shape[:1] == (1,) else (tensor.shape,)
        self._real = np.dtype(np.float32) if tensor.quantized else tensor.dtype
        self._scratch = np.empty(tensor.shape, np.float32)
        if tensor.quantized:
            limits = np.iinfo(tensor.dtype)
            high = np.float32(limits.max)
            if int(high) > limits.max:  # of 32 bits: the next float32 would wrap to the other end
                high = np.nextafter(high, np.float32(0))
            constants = (1.0 / tensor.scale, tensor.zero_point, limits.min, high)
            self._inverse, self._zero, self._low, self._high = (np.array(c, np.float32) for c in constants)

    def write(self, value: Any) -> None:
        """Write `value`, of the tensor's shape with or without the batch dimension of 1.

        A value of the tensor's own integer dtype is taken as raw codes; floats are quantized.
        Raises InputError naming what was expected.
        """
        array = value if value.__class__ is np.ndarray else self._array(value)
        if array.shape not in self._shapes:
            raise InputError(
                f"input {self._tensor.key!r} has shape {list(self._tensor.shape)}, got {list(array.shape)}"
            )
        if array.dtype is not self._real and array.dtype != self._dtype:
            self._check(array.dtype)
        if not self._tensor.quantized or array.dtype == self._dtype:
            if array.dtype is not self._dtype and self._dtype.kind in "iu":
                self._check_range(array)
            self._view[...] = array
            return
        scratch = self._scratch
        np.multiply(array, self._inverse, scratch, casting="same_kind")
        np.add(scratch, self._zero, scratch)
        np.rint(scratch, scratch)
        if scratch.size and math.isnan(scratch.min()):  # which no code stands for
            raise InputError(f"input {self._tensor.key!r} holds NaN")
        np.maximum(scratch, self._low, scratch)
        np.minimum(scratch, self._high, scratch)
        self._view[...] = scratch

    def _array(self, value: Any) -> Array:
        return as_array(value, self._tensor.key)

    def _check_range(self, array: Array) -> None:
        limits = np.iinfo(self._dtype)
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise InputError(f"input {self._tensor.key!r} takes {self._dtype}, which ends at {limits.max}")

    def _check(self, dtype: np.dtype[Any]) -> None:
        if not np.can_cast(dtype, self._real, "same_kind"):
            raise InputError(f"input {self._tensor.key!r} takes {self._real} or {self._dtype}, got {dtype}")


def as_array(value: Any, name: str) -> Array:
    """Return `value` as an array; raise InputError, with the input's name, for what cannot be one."""
    try:
        return np.asarray(value)
    except Exception as error:  # a ragged list, or whatever a foreign object's own conversion raises
        raise InputError(f"input {name!r}: {error}") from error


def part_of(inputs: Any, position: int, tensors: Sequence[Tensor]) -> Any:
    """Return which part of the inputs of one call is for the tensor at `position`.

    That of its name in a mapping, that at its place in a list, all of it for an only one. Raises InputError
    where there is none.
    """
    tensor = tensors[position]
    try:
        if isinstance(inputs, Mapping):
            return inputs[tensor.key if tensor.key in inputs else tensor.name]
        return inputs if len(tensors) == 1 else inputs[position]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"input {tensor.key!r} is missing") from error


class OutputReader:
    """Turns the codes of one output tensor into real values: for 8 bits one look into a table."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._table: Array | None = None
        if tensor.quantized and tensor.dtype.itemsize == 1:
            codes = np.arange(_BYTE_CODES, dtype=np.uint8).view(tensor.dtype)
            self._table = dequantize(tensor, codes)

    def read(self, codes: Array) -> Array:
        """Return real values as float32 in the shape of `codes`; what is not quantized, as it is."""
        if self._table is not None:
            real: Array = self._table[codes.view(np.uint8)]
            return real
        return dequantize(self.tensor, codes)


def dequantize(tensor: Tensor, codes: Array) -> Array:
    """Return the real values of an output tensor as float32; a tensor that is not quantized as it is."""
    if not tensor.quantized:
        return codes
    real: Array = (codes.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
    return real
