"""Which samples a device is asked again, and how exactly it must answer."""

from __future__ import annotations

import io

import numpy as np
import pytest

from converter.golden import choose, encode, tolerance

RANDOM = np.random.default_rng(1)
TRUTH = np.repeat(np.arange(5), 20)
OUTPUTS = RANDOM.dirichlet(np.ones(5), 100).astype(np.float32)
INPUTS = RANDOM.random((100, 8)).astype(np.float32)


def test_every_class_is_asked_with_its_least_certain_sample() -> None:
    rows = choose(INPUTS, TRUTH, OUTPUTS)
    assert len(rows) == len(set(rows.tolist())) == 24
    top = np.sort(OUTPUTS, -1)
    margin = top[:, -1] - top[:, -2]
    for number in range(5):
        members = np.flatnonzero(number == TRUTH)
        assert members[np.argmin(margin[members])] in rows


def test_few_samples_are_all_asked() -> None:
    assert sorted(choose(INPUTS[:3], TRUTH[:3], OUTPUTS[:3]).tolist()) == [0, 1, 2]


def test_large_inputs_do_not_overfill_the_bundle() -> None:
    large = np.zeros((100, 1024, 1024), np.float32)
    assert len(choose(large, TRUTH, OUTPUTS)) == 4


def test_equal_sets_are_equal_bytes() -> None:
    data = encode(INPUTS, OUTPUTS)
    assert data == encode(INPUTS.copy(), OUTPUTS.copy())
    with np.load(io.BytesIO(data)) as archive:
        assert np.array_equal(archive["inputs"], INPUTS)
        assert np.array_equal(archive["expected"], OUTPUTS)


@pytest.mark.parametrize(
    ("error", "allowed"), [(None, 2e-4), (0.0, 0.2), (0.3, 0.3), (9.0, 1.0)]
)  # of a range of 2
def test_a_device_may_differ_by_what_quantization_did_within_reason(
    error: float | None, allowed: float
) -> None:
    assert tolerance(np.array([[0.0, 2.0]]), error) == pytest.approx(allowed)
