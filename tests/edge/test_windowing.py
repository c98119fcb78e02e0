"""Sound in pieces of any length becomes windows of one length, at the right places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.online.sounds import Sounds
from edge.online.windows import Windower, Windowing, pcm_to_wave
from tests.support.tiny_bundle import write_tiny_bundle
from wire.bundle import unpack
from wire.errors import SettingsError
from wire.manifest import Preprocessing

WAVE = np.arange(1000, dtype=np.float32)


def cut(windowing: Windowing, pieces: list[np.ndarray]) -> list[tuple[int, list[float]]]:
    windower = Windower(windowing)
    return [(start, window.tolist()) for piece in pieces for start, window in windower.feed(piece)]


@given(
    window=st.integers(1, 50),
    hop=st.integers(1, 80),
    cuts=st.lists(st.integers(0, 1000), max_size=30).map(sorted),
)
def test_how_the_sound_arrives_changes_no_window(window: int, hop: int, cuts: list[int]) -> None:
    found = cut(Windowing(window, hop, 8000), np.split(WAVE, cuts))
    starts = range(0, 1000 - window + 1, hop)
    assert found == [(start, WAVE[start : start + window].tolist()) for start in starts]


@given(window=st.integers(1, 50), hop=st.integers(1, 80))
def test_less_than_a_window_is_kept(window: int, hop: int) -> None:
    windower = Windower(Windowing(window, hop, 8000))
    for piece in np.split(WAVE, 37 * np.arange(1, 27)):
        list(windower.feed(piece))
        assert windower.kept < window


def test_a_gap_is_bridged_by_no_window_and_the_time_goes_on() -> None:
    windower = Windower(Windowing(4, 2, 8))
    assert [start for start, _ in windower.feed(WAVE[:7])] == [0, 2]
    windower.forget()
    ((start, window),) = windower.feed(WAVE[100:104])
    assert (start, window.tolist()) == (7, [100, 101, 102, 103])


def test_a_window_is_named_by_its_first_moment() -> None:
    assert Windowing(400, 200, 16_000).name(20_000) == "1.250"


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one sample"):
        Windowing(0, 1, 8000)


def test_pcm_reaches_from_minus_one_to_almost_one() -> None:
    pcm = np.array([-32768, 0, 32767], "<i2").tobytes()
    assert pcm_to_wave(pcm).tolist() == [-1.0, 0.0, 32767 / 32768]


LOG_MEL = Preprocessing(kind="log-mel", rate_hz=16_000, window=400, hop=160, fft=512, bands=40)


@pytest.mark.parametrize(
    ("how", "shape", "settings", "expected"),
    [
        (LOG_MEL, (1, 98, 40, 1), Sounds(0, 0, 8000), Windowing(15_920, 7960, 16_000)),
        (Preprocessing(kind="wave", rate_hz=8000), (1, 4410), Sounds(0, 0, 1), Windowing(4410, 2205, 8000)),
        (Preprocessing(), (1, 15_600), Sounds(0, 0, 16_000), Windowing(15_600, 7800, 16_000)),
        (Preprocessing(), (1, 9, 9), Sounds(1.0, 0.25, 8000), Windowing(8000, 2000, 8000)),
    ],
)  # fmt: skip
def test_the_window_is_the_models_unless_the_settings_say_otherwise(
    tmp_path, how: Preprocessing, shape: tuple[int, ...], settings: Sounds, expected: Windowing
) -> None:
    manifest = unpack(write_tiny_bundle(tmp_path / "t", how).read_bytes()).manifest
    assert settings.windowing(manifest, shape) == expected


def test_a_model_that_takes_no_sound_needs_a_window_in_the_settings() -> None:
    with pytest.raises(SettingsError, match="give the window in seconds"):
        Sounds(0, 0, 16_000).windowing(None, (1, 224, 224, 3))


@pytest.mark.parametrize(
    ("sounds", "what"), [(Sounds(0, 1e-5, 16_000), "a hop of 1e-05 s"), (Sounds(1e-5, 0, 1), "a window of")]
)
def test_less_than_one_sample_is_refused(sounds: Sounds, what: str) -> None:
    with pytest.raises(SettingsError, match=f"{what}.* is less than one sample at"):
        sounds.windowing(None, (1, 15_600))
