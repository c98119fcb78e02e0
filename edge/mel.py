"""Log-mel levels of a sound, as models of speech and sounds are trained on. Pure numpy.

The filter bank of a declaration is computed once and kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from edge.backend import Array
from wire.errors import BundleError
from wire.manifest import Preprocessing

#: Below it a float32 has no logarithm.
_LEAST: Final = 1.2e-38


def log_mel(sound: Array, how: Preprocessing) -> Array:
    """Return log-mel levels float32 [frames, bands] of a sound float32 [samples].

    frames = 1 + (samples - window) // hop, none past the end. A frame times a periodic Hann window, its
    discrete Fourier transform of `fft` points, magnitudes to the power of `power`, summed by the
    filter bank, ln(max(sum, floor) + added). The same as tf.signal.stft with
    linear_to_mel_weight_matrix (`htk`), or librosa's with center=False and win_length = n_fft (`slaney`):
    a shorter window librosa would put in the middle of the frame. Raises BundleError.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound, how.window)[:: how.hop]
    spectrum = np.abs(np.fft.rfft(frames * _hann(how.window), how.fft, axis=1)).astype(np.float32)
    if how.power == 2.0:
        np.square(spectrum, out=spectrum)
    elif how.power != 1.0:
        np.power(spectrum, np.float32(how.power), out=spectrum)
    sums = spectrum @ mel_bank(how)
    np.maximum(sums, np.float32(max(how.floor, _LEAST)), out=sums)
    levels: Array = np.log(sums + np.float32(how.added))
    return levels


@lru_cache(maxsize=4)
def _hann(size: int) -> Array:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size), np.float32)


@lru_cache(maxsize=4)
def mel_bank(how: Preprocessing) -> Array:
    """Return the weight of each frequency in each band, float32 [fft // 2 + 1, bands].

    `htk`: triangles over mel, 2595 log10(1 + f / 700) (Young, The HTK Book), of height 1, without the
    constant part. `slaney`: triangles over Hz with their edges on the mel of Slaney's Auditory
    Toolbox, of equal area. Raises BundleError.
    """
    high_hz = how.high_hz or how.rate_hz / 2
    if how.mel not in _MELS or not 0 <= how.low_hz < high_hz <= how.rate_hz / 2:
        raise BundleError(
            f"the bundle declares bands from {how.low_hz:g} to {high_hz:g} Hz on the mel {how.mel!r}"
        )
    to_mel, from_mel = _MELS[how.mel]
    edges = np.linspace(to_mel(np.array(how.low_hz)), to_mel(np.array(high_hz)), how.bands + 2)
    at = np.arange(how.fft // 2 + 1) * (how.rate_hz / how.fft)
    if how.mel == "htk":
        at = to_mel(at)
    else:
        edges = from_mel(edges)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    at = at[:, np.newaxis]
    weights = np.clip(np.minimum((at - left) / (middle - left), (right - at) / (right - middle)), 0, None)
    if how.mel == "htk":
        weights[0] = 0
    else:
        weights *= 2 / (right - left)
    return np.asarray(weights, np.float32)


def _htk_mel(hz: Array) -> Array:
    return np.asarray(2595 * np.log10(1 + hz / 700))


def _htk_hz(mel: Array) -> Array:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


#: Slaney's mel is straight to 1,000 Hz (15 mel), then 27 steps to a factor of 6.4.
_BREAK_HZ, _BREAK_MEL, _STEP = 1000.0, 15.0, float(np.log(6.4) / 27)


def _slaney_mel(hz: Array) -> Array:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _STEP
    return np.where(hz < _BREAK_HZ, hz * 3 / 200, above)


def _slaney_hz(mel: Array) -> Array:
    above = _BREAK_HZ * np.exp((np.maximum(mel, _BREAK_MEL) - _BREAK_MEL) * _STEP)
    return np.where(mel < _BREAK_MEL, mel * 200 / 3, above)


_MELS: Final = {"htk": (_htk_mel, _htk_hz), "slaney": (_slaney_mel, _slaney_hz)}
