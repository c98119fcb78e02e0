"""The band over time knows that answers of one device are alike, from sums that a page has read anyway."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.banding import Alikeness, alikeness, share_of_a_moment
from fleet.estimating import share
from fleet.statistics import wilson


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


@pytest.mark.parametrize(("devices", "each"), [(6, 20), (30, 5), (200, 2)])
def test_it_is_as_wide_as_the_jackknife_of_the_moment_would_be(devices: int, each: int) -> None:
    rng = np.random.default_rng(3)
    levels = rng.beta(8.3, 0.72, devices)  # 0.92 on average, and a correlation of 0.1
    right = rng.binomial(each, np.repeat(levels[:, None], 24, axis=1)).astype(np.float64)
    whole = np.full(devices, 24.0 * each)
    found = alikeness(right.sum(axis=1), whole)
    assert found.devices == devices
    carried, exact, alone = [], [], []
    for moment in right.T:
        band = share_of_a_moment(int(moment.sum()), devices * each, found)
        jackknife, pooled = share(moment, np.full(devices, float(each))), wilson(moment.sum(), devices * each)
        assert band
        assert jackknife
        assert pooled
        assert band.low <= band.value <= band.high
        carried.append(band.high - band.low)
        exact.append(jackknife.high - jackknife.low)
        alone.append(pooled[1] - pooled[0])
    assert np.mean(carried) == pytest.approx(np.mean(exact), rel=0.15)
    assert np.mean(carried) > np.mean(alone)


def test_where_devices_do_not_differ_it_is_no_wider_than_the_few_devices_make_it() -> None:
    alike = alikeness(floats(*[90.0] * 50), floats(*[100.0] * 50))
    assert alike.correlation == 0
    band, pooled = share_of_a_moment(450, 500, alike), wilson(450, 500)
    assert band
    assert pooled
    assert (band.low, band.high) == pytest.approx(pooled, abs=0.003)


def test_a_moment_in_which_all_was_right_is_no_point() -> None:
    alike = alikeness(floats(100, 50, 90, 100), floats(100, 100, 100, 100))
    band = share_of_a_moment(40, 40, alike)
    assert band
    assert band.low < 0.7
    assert band.high == 1


def test_nothing_labelled_has_no_band_and_one_device_is_wilsons() -> None:
    assert share_of_a_moment(0, 0, Alikeness()) is None
    assert alikeness(floats(), floats()) == Alikeness()
    band = share_of_a_moment(9, 10, alikeness(floats(90), floats(100)))
    assert band
    assert (band.low, band.high) == pytest.approx(wilson(9, 10))
