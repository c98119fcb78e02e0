"""What becomes of weights, checked against what int8 makes of them afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from converter.compression import Compression
from converter.projection import Array, Kernel, Target, project, sparsity_at, targets


@pytest.fixture
def weights() -> Array:
    """A dense kernel of 40 inputs and 30 channels that differ in size a hundredfold."""
    random = np.random.default_rng(0)
    return (random.standard_normal((40, 30)) * np.geomspace(0.01, 1, 30)).astype(np.float32)


def _projected(weights: Array, name: str, channels: int | None = -1) -> Array:
    compression = Compression.parse(name)
    (target,) = targets([Kernel(weights, channels, True)], compression, compression.sparsity)
    return project(weights, target)


def _int8(weights: Array) -> tuple[Array, Array]:
    """Return codes and scales [channels], as a quantizer makes them for each last axis."""
    scales = np.maximum(np.abs(weights).max(axis=0), 1e-9) / 127
    return np.rint(weights / scales).astype(int), scales


@pytest.mark.parametrize("name", ["2bit", "3bit", "4bit", "7bit", "aware", "prune80+4bit", "cluster16"])
def test_int8_keeps_what_projection_made(weights: Array, name: str) -> None:
    made = _projected(weights, name)
    codes, scales = _int8(made)
    assert made.dtype == np.float32
    np.testing.assert_allclose(codes * scales, made, rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_a_grid_has_the_same_few_codes_in_all_channels(weights: Array, bits: int) -> None:
    codes, _ = _int8(_projected(weights, f"{bits}bit"))
    assert len(np.unique(codes)) <= 2**bits - 1
    assert (np.abs(codes).max(axis=0) == 127).all()


def test_clusters_are_few_and_common_to_all_channels(weights: Array) -> None:
    codes, _ = _int8(_projected(weights, "prune50+cluster8"))
    assert len(np.unique(codes[codes != 0])) <= 8
    assert (codes == 0).mean() == pytest.approx(0.5, abs=0.01)


def test_channels_share_a_few_scales(weights: Array) -> None:
    assert len(np.unique(_int8(weights)[1])) == 30
    octaves = np.log2(_int8(_projected(weights, "4bit"))[1] * 127) * 4
    np.testing.assert_allclose(octaves, np.rint(octaves), atol=1e-3)


def test_projecting_twice_changes_nothing(weights: Array) -> None:
    once = _projected(weights, "4bit")
    np.testing.assert_array_equal(_projected(once, "4bit"), once)


@pytest.mark.parametrize("channels", [-2, None])
def test_the_axis_of_the_channels_is_the_callers(weights: Array, channels: int | None) -> None:
    turned = _projected(weights, "3bit", channels)
    groups = turned if channels else turned.reshape(1, -1)
    assert max(len(np.unique(group)) for group in groups) <= 7


def test_zeros_and_empty_channels_stay_zero(weights: Array) -> None:
    weights[:, 3] = 0
    weights[5] = 0
    for name in ("4bit", "cluster8", "aware"):
        made = _projected(weights, name)
        assert np.isfinite(made).all()
        assert not made[:, 3].any()
        assert not made[5].any()


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_the_share_of_zeros_is_that_of_all_kernels_and_none_loses_all(
    weights: Array, sparsity: float
) -> None:
    small = weights[:, :3] * 1e-3
    kernels = [Kernel(weights, -1, True), Kernel(small, -1, True)]
    made = [
        project(kernel.weights, target)
        for kernel, target in zip(kernels, targets(kernels, Compression(sparsity), sparsity), strict=True)
    ]
    zeros = sum(int((one == 0).sum()) for one in made) / sum(one.size for one in made)
    # A weight that is far smaller than its channel's largest rounds to zero too.
    assert sparsity - 0.01 <= zeros <= sparsity + 0.01
    assert all(one.any() for one in made)


def test_kernels_that_are_not_simplified_get_eight_bits_and_their_own_scales(weights: Array) -> None:
    (target,) = targets([Kernel(weights, -1, False)], Compression(0.9, 3), 0.9)
    assert target == Target(-1)
    codes, scales = _int8(project(weights, target))
    np.testing.assert_allclose(codes * scales, weights, atol=float(scales.max()) * 0.51)


def test_zeros_come_fast_at_first_and_are_all_there_at_half_time() -> None:
    shares = [sparsity_at(done, 0.9) for done in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 1)]
    assert shares[0] == 0
    assert shares[-1] == shares[-2] == 0.9
    assert list(np.diff(shares[:6])) == sorted(np.diff(shares[:6]), reverse=True)
