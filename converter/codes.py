"""Real values to the codes of a quantized tensor and back, operation for operation as a device does it.

real = scale * (integer - zero_point) is the TFLite quantization specification; rounding is to the
nearest integer, ties to even. Golden outputs that were computed otherwise would refuse good models.
Pure numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wire.manifest import TensorSpec

Array = npt.NDArray[Any]


def to_codes(spec: TensorSpec, values: Array) -> Array:
    """Return real `values` of any shape as the tensor takes them; an array in its own dtype as it is."""
    if spec.scale is None or spec.zero_point is None or values.dtype == np.dtype(spec.dtype):
        return values.astype(spec.dtype, copy=False)
    limits = np.iinfo(spec.dtype)
    codes = np.rint(values * np.float32(1.0 / spec.scale) + np.float32(spec.zero_point))
    clipped: Array = np.clip(codes, limits.min, limits.max).astype(spec.dtype)
    return clipped


def to_values(spec: TensorSpec, codes: Array) -> Array:
    """Return `codes` of any shape as float32; a tensor that is not quantized as it is."""
    if spec.scale is None or spec.zero_point is None:
        return codes
    real: Array = (codes.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return real
