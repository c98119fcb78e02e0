"""Sampled inputs as a person sees them: pictures as they were, curves, values with their names."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fleet.web.drawing import Curves, Picture, Values, drawn
from fleet.web.png import png
from fleet.web.reading import Meaning
from wire.manifest import Preprocessing, TensorSpec


def seen(values: Any, how: Preprocessing | None = None, **spec: Any) -> Any:
    """Return what is drawn of one input; `values` are in the tensor's own type, with a batch."""
    array = np.asarray(values)
    meaning = Meaning(
        inputs=(TensorSpec("x", str(array.dtype), array.shape, **spec),),
        preprocessing=how or Preprocessing(),
        columns={"1": "petal width"},
    )
    (found,) = drawn(base64.b64encode(array.tobytes()).decode(), meaning)
    return found


def pixels(picture: Picture) -> np.ndarray:
    data = base64.b64decode(picture.source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_read_by_another_library_as_it_was_written(channels: int) -> None:
    made = np.random.default_rng(1).integers(0, 256, (7, 13, channels), np.uint8)
    image = Image.open(io.BytesIO(png(made)))
    assert image.mode == {1: "L", 3: "RGB"}[channels]
    assert np.array_equal(np.asarray(image).reshape(made.shape), made)


RAMP = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        (RAMP, {}), (RAMP[..., None], {}), (RAMP[:, None], {}),
        ((RAMP.astype(np.int16) - 128).astype(np.int8), {"scale": 1 / 255, "zero_point": -128}),
        ((RAMP / 255).astype(np.float32), {}),
    ],
    ids=["HxW", "HxWx1", "1xHxW", "int8", "0 to 1"],
)  # fmt: skip
def test_a_dark_picture_is_seen_dark(values: np.ndarray, spec: dict[str, Any]) -> None:
    found = seen(values, **spec)
    assert (found.width, found.height, found.stretched) == (8, 8, False)
    assert np.abs(pixels(found).astype(int) - RAMP[0]).max() <= 1


def test_a_picture_without_a_known_range_is_stretched_and_said_to_be() -> None:
    found = seen((RAMP * 10.0).astype(np.float32))
    assert found.stretched
    assert (pixels(found).min(), pixels(found).max()) == (0, 255)


def test_the_preparation_is_undone() -> None:
    raw = np.random.default_rng(2).integers(0, 256, (9, 8, 3)).astype(np.float32)
    how = Preprocessing(
        "image", 3, 1 / 255, order="bgr", mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3), channels_first=True
    )
    taken = ((raw[:, :, ::-1] / 255 - how.mean) / how.std).transpose(2, 0, 1)[None].astype(np.float32)
    assert np.abs(pixels(seen(taken, how)).astype(int) - raw).max() <= 1


def test_a_large_picture_travels_small_and_tells_its_size() -> None:
    found = seen(np.zeros((1, 200, 300, 3), np.uint8))
    assert (found.width, found.height) == (300, 200)
    assert max(pixels(found).shape) <= 96


def test_pixels_in_a_row_are_a_picture_where_the_bundle_says_so() -> None:
    how = Preprocessing("image", 1, 1 / 255, height=8, width=8)
    found = seen((RAMP.reshape(1, 64) / 255).astype(np.float32), how)
    assert (found.kind, found.width) == ("picture", 8)


def test_what_has_an_order_is_a_curve_for_each_channel() -> None:
    turning = np.sin(np.arange(128 * 3) / 9).reshape(1, 128, 3).astype(np.float32)
    found = seen(turning)
    assert isinstance(found, Curves)
    assert (len(found.paths), found.length, found.channels) == (3, 128, 3)
    assert len(found.paths[0].split()) == 128


def test_a_long_wave_keeps_its_peak() -> None:
    wave = np.zeros((1, 8000), np.float32)
    wave[0, 4321] = 1.0
    found = seen(wave, Preprocessing("wave", rate_hz=8000))
    heights = [float(point.split(",")[1]) for point in found.paths[0].split()]
    assert len(heights) <= 320
    assert (min(heights), max(heights), found.high) == (0.0, 48.0, "1")


def test_what_is_no_number_in_a_long_wave_is_no_point_of_it() -> None:
    wave = np.full((1, 8000), 50.0, np.float32)
    wave[0, ::2] = 51.0
    wave[0, 1000:3000] = np.nan
    wave[0, 5000] = np.inf
    path = seen(wave, Preprocessing("wave", rate_hz=8000)).paths[0]
    assert {float(point.split(",")[1]) for point in path.split()} == {0.0, 48.0}
    nothing = np.full((1, 8000), np.nan, np.float32)
    assert seen(nothing, Preprocessing("wave", rate_hz=8000)).paths == [""]


def test_values_without_an_order_have_the_names_of_their_columns() -> None:
    found = seen(np.array([[5.1, 0.25, 3.0]], np.float32))
    assert found == Values([("0", "5.1"), ("petal width", "0.25"), ("2", "3")])


@pytest.mark.parametrize("text", [None, "", "not base64!", base64.b64encode(b"short").decode()])
def test_bytes_that_do_not_fit_are_not_drawn(text: str | None) -> None:
    assert drawn(text, Meaning(inputs=(TensorSpec("x", "float32", (1, 8, 8)),))) == ()
    assert drawn(text, Meaning(inputs=(TensorSpec("x", "string", (1,)),))) == ()


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 100), (1, 3), (1, 40, 4), (1, 1), (2, 5)])
def test_what_is_no_number_breaks_nothing(shape: tuple[int, ...]) -> None:
    for value in (np.nan, np.inf, -np.inf, 3e38):
        values = np.zeros(shape, np.float32)
        values.flat[0] = value
        assert isinstance(seen(values), Picture | Curves | Values)
