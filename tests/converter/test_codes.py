"""Codes of quantized tensors: the same arithmetic as on a device."""

from __future__ import annotations

import numpy as np
import pytest

from converter.codes import to_codes, to_values
from edge.backend import Tensor
from edge.tensors import InputWriter, dequantize
from wire.manifest import TensorSpec

SPEC = TensorSpec("x", "int8", (1, 1000), 0.0123, -7)
TENSOR = Tensor(0, "x", np.dtype(np.int8), (1, 1000), 0.0123, -7)


def test_a_device_makes_the_same_codes_and_values() -> None:
    values = np.random.default_rng(1).normal(0, 1, (1, 1000)).astype(np.float32)
    view = np.zeros((1, 1000), np.int8)
    InputWriter(TENSOR, view).write(values)
    assert np.array_equal(to_codes(SPEC, values), view)
    assert np.array_equal(to_values(SPEC, view), dequantize(TENSOR, view))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_tensor_that_is_not_quantized_is_left_alone(dtype: str) -> None:
    values = np.arange(3, dtype=dtype)
    spec = TensorSpec("x", dtype, (1, 3))
    assert to_codes(spec, values) is values
    assert to_values(spec, values) is values


def test_codes_are_taken_as_codes() -> None:
    codes = np.array([[5]], np.int8)
    assert to_codes(SPEC, codes) is codes
