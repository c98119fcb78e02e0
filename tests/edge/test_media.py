"""Image and sound files as arrays, and what is refused."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge.adapters import media
from edge.adapters.media import read_image, read_wav
from edge.waves import WaveError, decode_wav, resample
from tests.support.local_fleet import ROOT
from wire.errors import DataError

RED_AND_BLUE = np.array([[[255, 0, 0], [0, 0, 255]], [[255, 0, 0], [0, 0, 255]]], np.uint8)


def png(pixels: np.ndarray, **options: object) -> bytes:  # type: ignore[type-arg]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def wav(samples: np.ndarray, rate_hz: int = 8000) -> bytes:  # type: ignore[type-arg]
    """The bytes of a WAV file of integers [frames] or [frames, channels]."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim == 2 else 1)
        file.setsampwidth(samples.itemsize)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype(samples.dtype.newbyteorder("<")).tobytes())
    return out.getvalue()


def tone(hz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:  # type: ignore[type-arg]
    return np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz).astype(np.float32)


# images


def test_an_image_is_the_same_from_a_file_and_from_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(RED_AND_BLUE))
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), png(RED_AND_BLUE)):
        image = read_image(source)
        assert (image.dtype, image.tolist()) == (np.uint8, RED_AND_BLUE.tolist())


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (5, 4), "white").convert(mode).save(path)
    assert read_image(path).tolist() == np.full((4, 5, 3), 255).tolist()


def test_a_photo_is_turned_as_its_mark_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    photo = png(RED_AND_BLUE[:1], exif=exif)
    assert read_image(photo).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]
    assert read_image(photo, upright=False).tolist() == RED_AND_BLUE[:1].tolist()


@pytest.mark.parametrize("data", [b"", b"nothing", png(RED_AND_BLUE)[:-30], b"GIF89a\x00\x00\x00\x00"])
def test_what_is_no_image_is_one_line_with_the_files_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png is no image that can be read: .+") as refusal:
        read_image(path)
    assert "\n" not in str(refusal.value)


@given(st.binary(min_size=1, max_size=8), st.integers(0, 10_000))
def test_no_damage_raises_anything_else(damage: bytes, at: int) -> None:
    whole = png(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    at %= len(whole)
    with contextlib.suppress(DataError):
        read_image(whole[:at] + damage + whole[at + len(damage) :])


def test_a_file_that_is_not_there_a_folder_and_a_deep_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.png is not there"):
        read_image(tmp_path / "no.png")
    with pytest.raises(DataError, match="can be read"):
        read_image(tmp_path)
    Image.new("I;16", (2, 2)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits a pixel"):
        read_image(tmp_path / "deep.png")


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_PIXELS", 3)
    with pytest.raises(DataError, match="camera has 2 x 2 pixels, 3 are read"):
        read_image(png(RED_AND_BLUE), name="camera")


def test_without_pillow_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "from edge.adapters.media import read_image\n"
        "from wire.errors import UnavailableError\n"
        "try: read_image(b'')\n"
        "except UnavailableError as error: print(error)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "reading images needs Pillow: pip install 'edgeflock[media]'\n"


# sound


def test_pcm_of_every_width_is_a_share_of_full_scale() -> None:
    assert read_wav(wav(np.array([0, 128, 192, 255], np.uint8))).tolist() == [-1, 0, 0.5, 127 / 128]
    assert read_wav(wav(np.array([-(2**15), 0, 2**14], np.int16))).tolist() == [-1, 0, 0.5]
    assert read_wav(wav(np.array([-(2**31), 0, 2**30], np.int32))).tolist() == [-1, 0, 0.5]


def test_24_bits_and_floats_are_read_with_either_header() -> None:
    deep = b"".join(value.to_bytes(3, "little", signed=True) for value in (-(2**23), 0, 2**22))
    floats = np.array([-1, 0, 0.5], "<f4").tobytes()
    for kind, bits, body in ((1, 24, deep), (3, 32, floats)):
        plain = struct.pack("<HHIIHH", kind, 1, 8000, 0, 0, bits)
        extensible = struct.pack("<HHIIHHHHIH14s", 0xFFFE, 1, 8000, 0, 0, bits, 22, bits, 0, kind, b"")
        for form in (plain, extensible):
            chunks = b"LIST\x03\x00\x00\x00abc\x00" + b"fmt " + struct.pack("<I", len(form)) + form
            file = b"RIFF\0\0\0\0WAVE" + chunks + b"data" + struct.pack("<I", len(body)) + body
            assert read_wav(file).tolist() == [-1, 0, 0.5]


def test_channels_become_their_mean() -> None:
    stereo = np.array([[2**14, -(2**14)], [2**14, 2**14]], np.int16)
    assert read_wav(wav(stereo)).tolist() == [0, 0.5]


def test_a_recording_that_was_cut_off_gives_its_whole_samples() -> None:
    assert len(read_wav(wav(np.zeros(100, np.int16))[:-31])) == 84


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no RIFF/WAVE header"),
        (b"RIFF\0\0\0\0WAVE", "no samples"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before their format"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd", "cut off"),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 17, 1, 8000, 0, 0, 4),
            "format 17 with 4",
        ),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, 8000, 0, 0, 16), "0 channels"),
    ],
)
def test_what_is_no_sound_says_why_with_the_files_name(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.wav is no WAV file that can be read: .*{reason}"):
        read_wav(tmp_path / "a.wav")


def test_a_sound_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.wav: No such file"):
        read_wav(tmp_path / "no.wav", 16000)


def test_a_header_of_absurd_rates_takes_no_memory() -> None:
    whole = wav(np.zeros(9, np.int16))
    for rate_hz in (0, 1, 2**31):
        with pytest.raises(DataError, match="channels at"):
            read_wav(whole[:24] + struct.pack("<I", rate_hz) + whole[28:], 16000)


def test_a_sound_of_hours_is_to_be_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(media, "MAX_SOUND_BYTES", 300)
    with pytest.raises(DataError, match="too long for one piece at 96000 Hz"):
        read_wav(wav(np.zeros(100, np.int16)), 96000)
    (tmp_path / "a.wav").write_bytes(wav(np.zeros(200, np.int16)))
    with pytest.raises(DataError, match=r"a\.wav has 0 MB: cut it"):
        read_wav(tmp_path / "a.wav")


@given(st.binary(max_size=120))
def test_no_bytes_raise_anything_but_a_wave_error(body: bytes) -> None:
    for data in (body, b"RIFF\0\0\0\0WAVE" + body, wav(np.zeros(9, np.int16))[:40] + body):
        try:
            decode_wav(data)
        except WaveError:
            continue


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(44100, 16000), (48000, 16000), (8000, 16000), (22051, 16000)]
)
def test_a_tone_keeps_its_pitch_and_strength_at_another_rate(from_hz: int, to_hz: int) -> None:
    made = resample(tone(440, from_hz), from_hz, to_hz)
    expected = tone(440, to_hz)
    assert abs(len(made) - len(expected)) <= 1
    middle = slice(200, len(expected) - 200)
    assert np.abs(made[middle] - expected[middle]).max() < 2e-3


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    assert np.abs(resample(tone(12000, 48000), 48000, 16000)[200:-200]).max() < 1e-3


def test_a_constant_stays_and_an_empty_sound_too() -> None:
    assert resample(np.ones(4000, np.float32), 44100, 16000)[100:-100] == pytest.approx(1, abs=1e-5)
    assert resample(np.zeros(0, np.float32), 44100, 16000).shape == (0,)
    assert resample(np.ones(1, np.float32), 44100, 16000).shape == (1,)
