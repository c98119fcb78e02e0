"""The reference in a bundle: bounded, checked, and counted the same way at both ends."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_bundle import write_tiny_bundle
from wire import features
from wire.bundle import REFERENCE, Bundle, pack, unpack
from wire.counters import Classes
from wire.errors import BundleError
from wire.manifest import Preprocessing
from wire.reference import COLUMN, MAX_BINS, MAX_FEATURES, Feature, Reference

NONE = Preprocessing()
COLUMN_0 = Feature("x[0]", COLUMN, (1.0, 2.0), (3, 4, 5))
FULL = Reference(12, (COLUMN_0,), Classes((0, 2), (5, 7)), (0,) * 19 + (12,))


@pytest.fixture
def plain(tmp_path: Path) -> Bundle:
    """A bundle as there were before there was a reference."""
    return unpack(write_tiny_bundle(tmp_path / "tiny.bundle").read_bytes())


def test_a_bundle_carries_its_reference_and_packs_to_the_same_bytes(plain: Bundle) -> None:
    packed = pack(replace(plain, reference=FULL))
    assert unpack(packed).reference == FULL
    assert pack(unpack(packed)) == packed


def test_a_bundle_from_before_there_was_one_has_none(plain: Bundle) -> None:
    assert plain.reference is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rows":-1}',
        '{"rows":1,"confidence":[1]}',
        '{"rows":1,"features":[{"name":"a","measure":"sum","edges":[],"counts":[1]}]}',
        '{"rows":1,"features":[{"name":"a","measure":"mean","edges":[1],"counts":[1]}]}',
        '{"rows":1,"features":[{"name":"a","measure":"mean","edges":[2,1],"counts":[1,1,1]}]}',
        '{"rows":1,"features":[{"name":"a","measure":"mean","edges":[1e999],"counts":[1,1]}]}',
        '{"rows":1,"features":[{"name":"a","measure":"mean","edges":[],"counts":[-1]}]}',
        '{"rows":1,"features":[{"name":"","measure":"mean","edges":[],"counts":[1]}]}',
        '{"rows":1,"features":[{"name":"a","measure":"column","edges":[],"counts":[1],"column":-1}]}',
        '{"rows":1,"predicted":{"classes":[1],"counts":[]}}',
        '{"rows":1,"features":' + "[" * 5000 + "]" * 5000 + "}",
        " " * (256 * 1024 + 1),
    ],
)
def test_a_reference_that_is_none_is_refused_with_the_bundle(plain: Bundle, text: str) -> None:
    out = io.BytesIO(pack(plain))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(REFERENCE, text)
    with pytest.raises(BundleError):
        unpack(out.getvalue())


def test_a_reference_has_an_end() -> None:
    many = tuple(replace(COLUMN_0, name=f"{n}") for n in range(MAX_FEATURES + 1))
    bins = {"edges": tuple(map(float, range(MAX_BINS))), "counts": (0,) * (MAX_BINS + 1)}
    for wrong in (
        lambda: Reference(1, many),
        lambda: replace(COLUMN_0, **bins),
        lambda: Reference(1, (COLUMN_0,) * 2),
    ):
        with pytest.raises(ValueError, match=r"features|bins|one name"):
            wrong()


# what is measured


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50))
def test_every_finite_value_is_in_one_bin(values: list[float]) -> None:
    counted = features.count(COLUMN_0, np.array(values))
    assert len(counted) == 3
    assert counted.sum() == np.isfinite(values).sum()


def test_a_value_on_an_edge_is_in_the_bin_above() -> None:
    assert features.count(COLUMN_0, np.array([0.9, 1.0, 1.9, 2.0])).tolist() == [1, 2, 1]


def measured(name: str, rows: np.ndarray, how: Preprocessing = NONE, **more: float) -> list[float]:  # type: ignore[type-arg]
    found = features.measure(Feature("f", name, (), (0,), **more), rows, how)  # type: ignore[arg-type]
    assert found is not None
    return [float(f"{value:.4g}") for value in found.tolist()]


def test_a_row_is_summed_up_or_measured_column_by_column() -> None:
    rows = np.array([[[1.0, 2.0]], [[3.0, 5.0]]])
    assert measured(COLUMN, rows, column=1) == [2.0, 5.0]
    assert measured("mean", rows) == [1.5, 4.0]
    assert measured("deviation", rows) == [0.5, 1.0]
    assert (measured("smallest", rows), measured("largest", rows)) == ([1.0, 3.0], [2.0, 5.0])
    assert features.measure(Feature("f", COLUMN, (), (0,), column=2), rows, NONE) is None


def test_a_picture_is_measured_by_its_luminance_wherever_its_colours_lie() -> None:
    red = np.zeros((1, 4, 5, 3))
    red[..., 0] = 1.0
    assert measured("luminance", red) == [0.299]
    assert measured("luminance", red, Preprocessing(kind="image", order="bgr")) == [0.114]
    first = Preprocessing(kind="image", channels_first=True)
    assert measured("luminance", np.moveaxis(red, -1, 1), first) == [0.299]
    flat = Preprocessing(kind="image", channels=3, height=4, width=5)
    assert measured("luminance", red.reshape(1, -1), flat) == [0.299]


def test_contrast_sharpness_and_saturation_tell_pictures_apart() -> None:
    stripes = np.zeros((1, 6, 6, 1))
    stripes[:, :, ::2] = 1.0
    grey = np.full((1, 6, 6, 1), 0.5)
    both = np.concatenate([stripes, grey])
    assert measured("contrast", both) == [0.5, 0.0]
    sharp, blurred = measured("sharpness", both)
    assert sharp > 1
    assert blurred == 0
    assert measured("saturated", both, low=0.0, high=1.0) == [1.0, 0.0]


@pytest.mark.parametrize("shape", [(2, 8), (2, 2, 2, 1), (2, 8, 8, 7), (2, 8, 8), (2, 3)])
def test_what_is_no_picture_is_measured_as_none(shape: tuple[int, ...]) -> None:
    assert features.picture_of(np.zeros(shape), NONE) is None
