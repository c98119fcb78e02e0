"""Tails and quantiles, against scipy over the range that a fleet meets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fleet.distributions import chi2_tail, f_tail, kolmogorov_tail, normal_quantile, t_quantile

FREEDOM = st.floats(0.5, 5000)


@given(FREEDOM, st.floats(0, 4))
def test_the_tail_of_chi_square_is_scipys(freedom: float, scale: float) -> None:
    expected = stats.chi2.sf(freedom * scale, freedom)
    assert chi2_tail(freedom * scale, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-200)


@given(st.floats(0, 20), st.floats(0.5, 200), st.floats(1, 1e6))
def test_the_tail_of_f_is_scipys(x: float, above: float, below: float) -> None:
    assert f_tail(x, above, below) == pytest.approx(stats.f.sf(x, above, below), rel=1e-6, abs=1e-100)


@given(st.floats(0, 5))
def test_the_tail_of_kolmogorovs_distribution_is_scipys(x: float) -> None:
    assert kolmogorov_tail(x) == pytest.approx(stats.kstwobign.sf(x), rel=1e-9, abs=1e-12)


@given(st.sampled_from([0.9, 0.975, 0.995]), st.one_of(st.integers(1, 100), st.integers(1, 200_000)))
def test_the_quantile_of_t_is_scipys(p: float, freedom: int) -> None:
    assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-4)


def test_the_quantile_of_the_normal_distribution_is_known() -> None:
    assert normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(("p", "freedom"), [(0.5, 3), (1.0, 3), (0.975, 0)])
def test_a_quantile_that_is_none_is_refused(p: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(p, freedom)
