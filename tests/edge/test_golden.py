"""The golden set on the device: what is read, and how it is judged."""

from __future__ import annotations

import numpy as np
import pytest

from converter import golden as writing
from edge.golden import judge, judge_all, read_golden
from wire.errors import BundleError
from wire.manifest import Golden

ONE = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)


def test_what_the_converter_writes_is_what_a_device_reads() -> None:
    inputs = (np.arange(6, dtype=np.int8).reshape(2, 3), np.ones((2, 4), np.float32))
    found = read_golden(writing.encode(inputs, (ONE, ONE[:, :1])), Golden(2, 0.1, (0.1,)))
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(found.inputs, inputs, strict=True))
    assert [array.shape for array in found.expected] == [(2, 2), (2, 1)]


def test_rows_that_do_not_add_up_are_refused() -> None:
    data = writing.encode((np.ones((2, 3)),), (ONE[:1],))
    with pytest.raises(BundleError, match=r"golden set has \[1, 2\] rows, the manifest says 2"):
        read_golden(data, Golden(2, 0.1))


@pytest.mark.parametrize("other", [1, 0])
def test_every_output_is_judged_by_its_own_tolerance(other: int) -> None:
    golden = Golden(2, 0.01, (0.5,))
    shifted = [ONE, ONE]
    shifted[other] = ONE + 0.1
    verdict = judge_all((ONE, ONE), (shifted[0], shifted[1]), golden)
    assert verdict.passed is (other == 1)


def test_an_output_too_many_is_refused() -> None:
    verdict = judge_all((ONE,), (ONE, ONE), Golden(2, 0.1))
    assert not verdict.passed
    assert verdict.reason.startswith("the model has 2 outputs, the golden set 1")


def test_a_batch_dimension_makes_no_difference() -> None:
    assert judge(ONE, ONE[:, np.newaxis], 0.0).passed


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        (ONE[:, :1], "output has shape"),
        (ONE * np.nan, "output is not finite"),
        (ONE[:, ::-1], "2 of 2 answers changed"),
    ],
)
def test_other_answers_fail_with_their_reason(got: np.ndarray, reason: str) -> None:
    verdict = judge(ONE, got, 0.1)
    assert not verdict.passed
    assert reason in verdict.reason


def test_an_empty_set_proves_nothing() -> None:
    assert not judge(ONE[:0], ONE[:0], 0.1).passed
