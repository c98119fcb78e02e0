from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.calibration import (
    Array,
    Series,
    calibrated,
    coded,
    column_warning,
    kept,
    merged,
    range_warnings,
    spread,
)

_RANDOM = np.random.default_rng(0)
_ORDERS = [_RANDOM.permutation(64) for _ in range(8)]


def _series(highest: Array) -> Series:
    column = highest.reshape(-1, 1).astype(np.float64)
    return Series(("a",), np.zeros_like(column), column)


def _orders(count: int) -> list[Array]:
    return [np.random.default_rng(seed).permutation(count) for seed in range(8)]


def test_samples_are_spread_over_the_whole_set() -> None:
    rows = spread(np.arange(1000).reshape(-1, 1), 100).ravel()
    assert (rows[0], rows[-1], len(rows), len(np.unique(rows))) == (0, 999, 100, 100)
    assert len(spread(np.zeros((7, 1)), 100)) == 7


def test_ranges_are_true_extremes() -> None:
    found = calibrated(Series(("a", "b"), np.array([[-1.0, 2], [0, 3]]), np.array([[5.0, 4], [1, 9]])), ())
    assert found.ranges == {"a": (-1.0, 5.0), "b": (2.0, 9.0)}


def test_a_tensor_that_never_had_a_value_has_no_range() -> None:
    endless = Series(("a", "b"), np.array([[0.0, np.inf]]), np.array([[1.0, -np.inf]]))
    assert calibrated(endless, ()).ranges == {"a": (0.0, 1.0)}


def test_samples_whose_ranges_hardly_grow_are_enough() -> None:
    found = calibrated(_series(_RANDOM.uniform(0.9, 1.0, 64)), _ORDERS)
    assert found.growth < 0.01
    assert found.notes == (
        f"64 calibration samples: ranges grew by {100 * found.growth:.1f} % in the second half: enough",
    )
    assert found.warnings == ()


def test_more_samples_are_asked_for_while_ranges_grow() -> None:
    found = calibrated(_series(2.0 ** np.arange(12)), _orders(12))
    assert found.growth > 0.2
    assert found.warnings[0].startswith("12 calibration samples: ranges grew by")
    assert found.warnings[0].endswith("give more")


def test_a_handful_of_samples_is_too_little_to_judge_by() -> None:
    assert "only 4 calibration samples" in calibrated(_series(np.ones(4)), _orders(4)).warnings[0]


_LIMITS = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(sorted).map(tuple)


@given(limits=_LIMITS, dtype=st.sampled_from(["int8", "int16"]))
def test_the_range_of_codes_is_its_own_range_to_the_last_bit(limits: tuple[float, float], dtype: str) -> None:
    once = coded(limits, dtype)
    assert coded(once, dtype) == once
    step = (once[1] - once[0]) / (255 if dtype == "int8" else 65534)
    assert once[0] <= 0 <= once[1]
    assert once[0] <= limits[0] + step
    assert once[1] >= limits[1] - step


def test_a_range_of_a_previous_model_is_kept_where_it_fits() -> None:
    base = {"same": (0.0, 10.0), "wider": (0.0, 10.0), "narrow": (0.0, 10.0), "gone": (0.0, 1.0)}
    fresh = {"same": (0.1, 10.5), "wider": (0.0, 13.0), "narrow": (0.0, 1.0), "new": (-1.0, 1.0)}
    assert kept(fresh, base) == {"same"}
    assert merged(fresh, base) == fresh | {"same": (0.0, 10.0)}


_IMAGES = np.where(_RANDOM.random((60, 8, 8)) < 0.5, 0.0, _RANDOM.random((60, 8, 8))).astype(np.float32)


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (_IMAGES[:40], ""),
        (_IMAGES[:40] * 255, "one of them is not prepared as in training"),
        (_IMAGES[:40] / 255, "one of them is not prepared as in training"),
        (_IMAGES[:40] * 0.5, "outside the calibrated range and clipped"),
        (np.repeat(_IMAGES[:1], 40, axis=0), "all calibration samples are the same"),
        (_RANDOM.random((40, 8, 8)).astype(np.float32), "are they real?"),
    ],
)
def test_samples_unlike_the_test_data_are_told(calibration: Array, said: str) -> None:
    warnings = range_warnings([calibration], [_IMAGES[20:]])
    assert len(warnings) == bool(said)
    assert all(said in line and line.startswith("the input: ") for line in warnings)


def test_the_input_of_several_is_told_and_classes_are_looked_at_when_known() -> None:
    rows = [_IMAGES[:40], _IMAGES[:40] * 255]
    warnings = range_warnings(rows, [_IMAGES[20:], _IMAGES[20:]], np.zeros(40, np.int64))
    assert [line[:8] for line in warnings] == ["input 2:", "the cali"]


def test_a_table_of_uneven_columns_is_told() -> None:
    table = _RANDOM.random((50, 4)).astype(np.float32)
    assert column_warning(table) == ""
    assert "3 of 4 columns have fewer than 4 of 256 codes" in column_warning(
        table * np.float32([1680, 1, 2, 0.1])
    )
