"""The latency histogram: its error bound, and that merging is exact."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.counters import Buckets
from wire.histogram import ALPHA, BUCKETS, EMPTY, bucket_of, count, merge, pack, quantile, value_of

latencies_us = st.floats(1.0, 100e6)


def histogram(values: list[float]) -> Buckets:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    return pack(counts)


@given(latencies_us)
def test_a_bucket_stands_for_its_values_within_one_percent(value: float) -> None:
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=ALPHA + 1e-9)


@given(st.lists(latencies_us, min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_that_of_the_values_within_one_percent(values: list[float], q: float) -> None:
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    assert quantile(histogram(values), q) == pytest.approx(exact, rel=ALPHA + 1e-9)


@given(st.lists(st.lists(latencies_us, max_size=20), max_size=5))
def test_the_sum_of_histograms_is_the_histogram_of_all(parts: list[list[float]]) -> None:
    assert merge(histogram(part) for part in parts) == histogram([v for part in parts for v in part])


def test_values_outside_the_range_are_counted_at_its_ends() -> None:
    assert bucket_of(0.0) == bucket_of(-5.0) == 0
    assert bucket_of(1e12) == BUCKETS - 1


def test_nothing_has_no_quantile() -> None:
    assert quantile(EMPTY, 0.5) is None
    assert count(merge([])) == 0


@pytest.mark.parametrize("bad", [Buckets(-1, (1,)), Buckets(BUCKETS, (1,)), Buckets(0, (1,) * (BUCKETS + 1))])
def test_a_histogram_that_leaves_the_range_is_refused(bad: Buckets) -> None:
    with pytest.raises(ValueError, match="bucket"):
        merge([bad])
