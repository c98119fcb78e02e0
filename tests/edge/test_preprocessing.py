"""From a raw picture or sound to the model's input."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from converter.adapters.images import decode
from converter.dataset import DataOptions
from edge.adapters.media import read_image, resize_image
from edge.mel import log_mel, mel_bank
from edge.preprocessing import grey, prepare, resize
from tests.support.local_fleet import ROOT
from wire.errors import BundleError, InputError
from wire.manifest import Preprocessing

RGB = Preprocessing("image", 3)
MEL = Preprocessing("log-mel", rate_hz=16000, window=400, hop=160, fft=512, bands=40, low_hz=80, high_hz=7600)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def noise(samples: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)


# images

sizes = st.integers(1, 70)


@given(sizes, sizes, sizes, sizes)
def test_resizing_is_pillows_within_a_level(height: int, width: int, new_height: int, new_width: int) -> None:
    image = picture(height, width)
    ours, pillows = resize(image, new_height, new_width), resize_image(image, new_height, new_width)
    assert ours.shape == pillows.shape == (new_height, new_width, 3)
    assert np.abs(ours.astype(int) - pillows).max() <= 1


def test_grey_is_pillows() -> None:
    image = picture(40, 50)
    assert np.array_equal(grey(image)[:, :, 0], np.asarray(Image.fromarray(image).convert("L")))


def test_a_device_sees_what_calibration_saw(tmp_path: Path) -> None:
    Image.fromarray(picture(60, 90)).save(tmp_path / "a.png")
    for channels, scale in ((3, "signed"), (1, "unit")):
        options = DataOptions(image_size=(24, 32), channels=channels, scale=scale)  # type: ignore[arg-type]
        made = decode([tmp_path / "a.png"], tmp_path, options)
        sample = prepare(read_image(tmp_path / "a.png"), made.preprocessing, (24, 32, channels))
        level = made.preprocessing.scale
        assert np.abs(sample - made.samples[0]).max() <= level * 1.01
        assert np.mean(np.abs(sample - made.samples[0]) > level / 2) < 0.2


def test_a_picture_becomes_the_inputs_shape_scaled_and_float32() -> None:
    sample = prepare(np.full((4, 6, 3), 255, np.uint8), replace(RGB, scale=2 / 255, offset=-1.0), (2, 3, 3))
    assert (sample.dtype, sample.shape, sample.tolist()) == (np.float32, (2, 3, 3), [[[1.0] * 3] * 3] * 2)
    assert prepare(picture(4, 6), replace(RGB, channels=1), (2, 3, 1)).shape == (2, 3, 1)
    assert prepare(picture(4, 6), replace(RGB, channels=1), (2, 3)).shape == (2, 3)
    assert prepare(picture(4, 6)[:, :, 0], RGB, (2, 3, 3)).shape == (2, 3, 3)


def test_colour_order_comes_before_mean_and_deviation() -> None:
    red = np.zeros((1, 1, 3), np.uint8) + np.array([200, 100, 0], np.uint8)
    how = replace(RGB, order="bgr", mean=(0.0, 50.0, 100.0), std=(1.0, 2.0, 4.0))
    assert prepare(red, how, (1, 1, 3)).tolist() == [[[0.0, 25.0, 25.0]]]


def test_channels_may_come_first_and_pixels_in_one_row() -> None:
    image = picture(2, 4)
    first = prepare(image, replace(RGB, channels_first=True), (3, 2, 4))
    assert np.array_equal(first, image.transpose(2, 0, 1))
    flat = prepare(image, replace(RGB, height=2, width=4), (24,))
    assert np.array_equal(flat, image.reshape(-1))


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (np.zeros((2, 2, 3)), "got float64"),
        (np.zeros((2, 2, 4), np.uint8), "got 4"),
        (np.zeros((2,), np.uint8), r"got uint8 \[2\]"),
        (np.zeros((0, 2, 3), np.uint8), r"\[0, 2, 3\]"),
    ],
)
def test_what_is_no_picture_is_refused(sample: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare(sample, RGB, (2, 2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "shape"),
    [
        (Preprocessing("hologram"), (2, 2, 3)),
        (RGB, (2, 2, 4)),
        (RGB, (5,)),
        (replace(RGB, channels=2), (2, 2, 2)),
        (replace(RGB, mean=(1.0, 2.0)), (2, 2, 3)),
        (replace(RGB, std=(1.0, 0.0, 1.0)), (2, 2, 3)),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_a_bundle_error(
    how: Preprocessing, shape: tuple[int, ...]
) -> None:
    with pytest.raises(BundleError):
        prepare(picture(4, 4), how, shape)


def test_without_a_declared_way_a_sample_stays_as_it_is() -> None:
    sample = picture(2, 2)
    assert prepare(sample, Preprocessing(), (9, 9)) is sample


# sound


def test_a_wave_is_cut_or_filled_with_silence() -> None:
    how = Preprocessing("wave", rate_hz=16000)
    assert prepare(np.array([0.5, 0.25, 1], np.float32), how, (2,)).tolist() == [0.5, 0.25]
    assert prepare(np.array([-32768, 16384], np.int16), how, (3, 1)).tolist() == [[-1], [0.5], [0]]
    with pytest.raises(InputError, match="or int16: got int32"):  # of which scale, nobody knows
        prepare(np.array([1, 2], np.int32), how, (3, 1))
    for bad in (np.zeros((2, 2), np.float32), np.zeros(2, np.uint8), np.zeros(2, complex)):
        with pytest.raises(InputError, match="a sound is"):
            prepare(bad, how, (2,))


def test_log_mel_fits_the_input_and_silence_is_its_floor() -> None:
    for shape in ((98, 40), (98, 40, 1), (1, 98, 40)):
        assert prepare(noise(16000), MEL, shape).shape == shape
    silent = prepare(np.zeros(5, np.float32), replace(MEL, floor=1e-6, scale=2.0, offset=1.0), (3, 40))
    assert silent == pytest.approx(2 * np.log(1e-6) + 1, rel=1e-5)
    assert np.isfinite(prepare(np.zeros(5, np.float32), replace(MEL, floor=0.0), (3, 40))).all()


def test_log_mel_is_tensorflows(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np, tensorflow as tf\n"
        "wave = tf.constant(np.load(sys.argv[1]))\n"
        "power = tf.abs(tf.signal.stft(wave, 400, 160, 512)) ** 2\n"
        "bank = tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 80.0, 7600.0)\n"
        "np.save(sys.argv[2], tf.math.log(power @ bank + 1e-6).numpy())\n"
    )
    np.save(tmp_path / "wave.npy", noise(8000))
    files = [str(tmp_path / "wave.npy"), str(tmp_path / "theirs.npy")]
    subprocess.run([sys.executable, "-c", program, *files], cwd=ROOT, check=True, capture_output=True)
    ours = log_mel(noise(8000), replace(MEL, floor=0.0, added=1e-6))
    assert ours == pytest.approx(np.load(tmp_path / "theirs.npy"), abs=2e-4)


def test_slaneys_bands_have_equal_area_and_are_straight_below_a_kilohertz() -> None:
    # Of white noise of power 1 in every bin, a band of area 1 has fft / rate.
    bank = mel_bank(replace(MEL, fft=4096, bands=20, low_hz=0.0, high_hz=8000.0, mel="slaney"))
    assert bank.sum(axis=0) == pytest.approx(4096 / 16000, rel=0.02)
    peaks = np.argmax(bank, axis=0) * 16000 / 4096
    steps = np.diff(peaks[peaks < 900])
    assert steps == pytest.approx(steps[0], abs=8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 600},
        {"hop": 0},
        {"bands": 7},
        {"mel": "bark"},
        {"high_hz": 9000.0},
        {"rate_hz": 0},
        {"bands": 0},
    ],
)
def test_a_log_mel_that_cannot_be_is_a_bundle_error(wrong: dict[str, object]) -> None:
    with pytest.raises(BundleError):
        prepare(noise(800), replace(MEL, **wrong), (3, 40))  # type: ignore[arg-type]
