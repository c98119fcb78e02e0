"""Values into tensors: quantization and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.backend import Tensor
from edge.tensors import InputWriter, dequantize, part_of
from wire.errors import InputError

INT8 = Tensor(0, "x", np.dtype(np.int8), (1, 4), scale=0.5, zero_point=-3)
FLOAT = Tensor(0, "x", np.dtype(np.float32), (1, 4))


def written(tensor: Tensor, value: object) -> np.ndarray:  # type: ignore[type-arg]
    view = np.zeros(tensor.shape, tensor.dtype)
    InputWriter(tensor, view).write(value)
    return view


def test_floats_are_quantized_rounded_and_clipped() -> None:
    assert written(INT8, [0.0, 1.0, 1.3, 1e9]).tolist() == [[-3, -1, 0, 127]]
    assert written(INT8, [-1e9, 0.24, 0.26, -0.5]).tolist() == [[-128, -3, -2, -4]]


def test_integers_of_the_tensors_own_type_are_raw_codes() -> None:
    assert written(INT8, np.array([[1, 2, 3, 4]], np.int8)).tolist() == [[1, 2, 3, 4]]


def test_other_integers_are_real_values() -> None:
    assert written(INT8, np.array([0, 1, 2, 3], np.int64)).tolist() == [[-3, -1, 1, 3]]


def test_the_batch_dimension_is_optional() -> None:
    assert written(FLOAT, [1, 2, 3, 4]).tolist() == written(FLOAT, [[1, 2, 3, 4]]).tolist()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1.0, 2.0], r"has shape \[1, 4\], got \[2\]"),
        (np.zeros((4, 1)), r"got \[4, 1\]"),
        (5.0, r"got \[\]"),
        ([1, [2, 3]], "inhomogeneous"),
        (["a", "b", "c", "d"], "takes float32"),
        (np.zeros((1, 4), complex), "got complex128"),
        (None, r"got \[\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(value: object, reason: str) -> None:
    for tensor in (INT8, FLOAT):
        with pytest.raises(InputError, match=reason) as refusal:
            written(tensor, value)
        assert "'x'" in str(refusal.value)


@given(st.lists(st.floats(-60, 60, width=32), min_size=4, max_size=4))
def test_quantizing_and_back_is_within_half_a_step(values: list[float]) -> None:
    back = dequantize(INT8, written(INT8, values))
    assert np.all(np.abs(back - np.array(values, np.float32)) <= 0.25 + 1e-5)


def test_a_code_stands_for_no_nan_and_an_index_does_not_wrap() -> None:
    with pytest.raises(InputError, match="'x' holds NaN"):
        written(INT8, [1.0, float("nan"), 0, 0])
    index = Tensor(0, "x", np.dtype(np.int32), (1, 2))
    assert written(index, np.array([1, 2], np.int64)).tolist() == [[1, 2]]
    with pytest.raises(InputError, match="ends at 2147483647"):
        written(index, np.array([1, 2**32 + 1], np.int64))


def test_a_scale_on_a_tensor_of_floats_means_nothing() -> None:
    odd = Tensor(0, "x", np.dtype(np.float32), (1, 4), scale=0.5, zero_point=3)
    assert written(odd, [1, 2, 3, 4]).tolist() == [[1, 2, 3, 4]]


def test_what_is_beyond_32_bits_ends_at_the_nearest_code_and_does_not_wrap() -> None:
    wide = Tensor(0, "x", np.dtype(np.int32), (1, 4), scale=1.0)
    low, high, *_ = written(wide, [-3e9, 3e9, 0, 0])[0].tolist()
    assert low == -(2**31)
    assert 2**31 - 200 < high < 2**31


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"b": 2, "a": 1}, [1, 2]),
        ({"long/b": 2, "long/a": 1}, [1, 2]),
        ([1, 2], [1, 2]),
        ({"a": 1}, [1, None]),
        ([1], [1, None]),
        (7, [None, None]),
    ],
)
def test_each_tensor_finds_its_part_of_the_inputs(inputs: object, found: list[int | None]) -> None:
    kind = np.dtype(np.float32)
    tensors = [Tensor(i, f"long/{key}", kind, (1, 2), alias=key) for i, key in enumerate("ab")]
    for position, part in enumerate(found):
        if part is None:
            with pytest.raises(InputError, match="is missing"):
                part_of(inputs, position, tensors)
        else:
            assert part_of(inputs, position, tensors) == part
