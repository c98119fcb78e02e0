"""Values in and out of tensors: checks, quantization, dequantization. Pure numpy.

real = scale * (integer - zero_point) is the TFLite quantization specification. Rounding is to the
nearest integer, ties to even (numpy's `rint`); the reference kernel rounds ties away from zero, so
an input exactly between two codes may differ by one code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.backend import Array, Tensor
from wire.errors import InputError


class InputWriter:
    """Writes values into one input tensor's memory, quantizing on the way.

    The scratch array is allocated once: the hot path allocates nothing that grows with the input.
    """

    def __init__(self, tensor: Tensor, view: Array) -> None:
        self._tensor = tensor
        self._view = view
        self._scratch = np.empty(tensor.shape, np.float32) if tensor.quantized else None
        if tensor.quantized:
            limits = np.iinfo(tensor.dtype)
            self._low, self._high = float(limits.min), float(limits.max)

    def write(self, value: Any) -> None:
        """Write `value`, of the tensor's shape with or without the batch dimension of 1.

        A value of the tensor's own integer dtype is taken as raw codes; floats are quantized.
        Raises InputError naming what was expected.
        """
        array = self._fit(value)
        if self._scratch is None or array.dtype == self._tensor.dtype:
            np.copyto(self._view, array, casting="same_kind")
            return
        np.multiply(array, 1.0 / self._tensor.scale, out=self._scratch, casting="same_kind")
        np.add(self._scratch, self._tensor.zero_point, out=self._scratch)
        np.rint(self._scratch, out=self._scratch)
        np.clip(self._scratch, self._low, self._high, out=self._scratch)
        np.copyto(self._view, self._scratch, casting="unsafe")

    def _fit(self, value: Any) -> Array:
        tensor = self._tensor
        try:
            array = np.asarray(value)
        except ValueError as error:  # a ragged list
            raise InputError(f"input {tensor.name!r}: {error}") from error
        if array.shape != tensor.shape:
            if (1, *array.shape) != tensor.shape:
                raise InputError(
                    f"input {tensor.name!r} has shape {list(tensor.shape)}, got {list(array.shape)}"
                )
            array = array[np.newaxis]
        if array.dtype == tensor.dtype:
            return array
        target = np.dtype(np.float32) if tensor.quantized else tensor.dtype
        if not np.can_cast(array.dtype, target, "same_kind"):
            raise InputError(f"input {tensor.name!r} takes {target} or {tensor.dtype}, got {array.dtype}")
        return array


def dequantize(tensor: Tensor, codes: Array) -> Array:
    """Return the real values of an output tensor as float32; a tensor that is not quantized as it is."""
    if not tensor.quantized:
        return codes
    real: Array = (codes.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
    return real
