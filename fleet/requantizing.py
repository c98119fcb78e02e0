"""An input as one model takes it, made into what another takes. Pure numpy.

Sources: real = scale * (integer - zero_point) is the TFLite quantization specification; wire/manifest.py says
which tensors are quantized.

Rules:
- the bytes of a sample are those of the model's inputs, in its order and its own types (wire/messages.py);
- inputs of two models belong together by name where both have the same names, else by position; they must
  have equally many values (DataError otherwise);
- between two quantized types a value goes through its real one, and becomes the nearest code that there is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from wire.errors import DataError
from wire.manifest import TensorSpec

Array = npt.NDArray[Any]


def unpacked(text: str, specs: Sequence[TensorSpec]) -> tuple[Array, ...] | None:
    """Return the input tensors in a sample's text, in the model's types; None where they do not fit."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    sizes = [prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs]
    if len(data) != sum(sizes):
        return None
    ends = np.cumsum(sizes).tolist()
    return tuple(
        np.frombuffer(data[end - size : end], np.dtype(spec.dtype)).reshape(spec.shape)
        for spec, size, end in zip(specs, sizes, ends, strict=True)
    )


def pairing(ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec]) -> tuple[int, ...]:
    """Return for each input of `theirs` the position of ours; raise DataError where they do not fit."""
    if len(ours) != len(theirs):
        raise DataError(f"it takes {len(theirs)} inputs, the release {len(ours)}")
    names = [spec.name for spec in ours]
    by_name = len(set(names)) == len(names) and set(names) == {spec.name for spec in theirs}
    order = tuple(names.index(spec.name) if by_name else i for i, spec in enumerate(theirs))
    for spec, position in zip(theirs, order, strict=True):
        if prod(spec.shape) != prod(ours[position].shape):
            own = list(ours[position].shape)
            raise DataError(f"its input {spec.name!r} takes {list(spec.shape)}, the release's {own}")
    return order


def real(codes: Array, spec: TensorSpec) -> Array:
    """Return the real values of a tensor, float64; what is not quantized, as it is."""
    if not _quantized(spec):
        return codes
    values: Array = float(spec.scale or 0.0) * (codes.astype(np.float64) - (spec.zero_point or 0))
    return values


def taken(values: Array, spec: TensorSpec) -> Array:
    """Return real values as a tensor of this type and shape holds them."""
    dtype = np.dtype(spec.dtype)
    if _quantized(spec):
        values = values / float(spec.scale or 1.0) + (spec.zero_point or 0)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(np.nan_to_num(values)), limits.min, limits.max)
    result: Array = values.astype(dtype).reshape(spec.shape)
    return result


def _quantized(spec: TensorSpec) -> bool:
    return bool(spec.scale) and np.dtype(spec.dtype).kind in "iu"
