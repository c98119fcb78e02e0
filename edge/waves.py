"""Sound as numbers: what a WAV file holds, and the same sound at another rate. Pure numpy.

Rules:
- PCM of 8, 16, 24 and 32 bits and floats are read, also as WAVE_FORMAT_EXTENSIBLE, which the standard
  library's reader refuses before Python 3.12; anything else is a WaveError;
- a file that ends early (a recorder that lost power) gives what is there: whole frames only;
- a sample is a share of full scale, -1 to 1; channels become one by their mean.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Final

import numpy as np

from edge.backend import Array

_PCM: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE

#: Vibration is recorded slowly, bats fast; what lies outside is damage, and would take gigabytes.
_SLOWEST_HZ: Final = 100
_FASTEST_HZ: Final = 768_000

#: Zero crossings of the low-pass on each side, and its Kaiser window: 80 dB between the bands.
_CROSSINGS: Final = 16
_KAISER_BETA: Final = 8.0
#: Share of the lower rate's band that is kept; above it the filter falls.
_BAND: Final = 0.94
_CHUNK: Final = 8192
#: More phases than this (22,051 Hz into 44,100) are rounded to this many: 1/2048 of a sample off.
_MOST_PHASES: Final = 2048


class WaveError(ValueError):
    """Bytes that are no WAV file of a known kind; the text says why."""


@dataclass(frozen=True)
class Wave:
    """A sound: float32 [samples] from -1 to 1, one channel."""

    samples: Array
    rate_hz: int


@dataclass(frozen=True)
class _Format:
    """The `fmt ` chunk: `kind` is _PCM or _FLOAT."""

    kind: int
    channels: int
    rate_hz: int
    bits: int


def decode_wav(data: bytes) -> Wave:
    """Return the sound in the bytes of a WAV file; raise WaveError.

    Source: Multimedia Programming Interface and Data Specifications 1.0, and RFC 2361.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WaveError("it has no RIFF/WAVE header")
    form: _Format | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = memoryview(data)[at + 8 : at + 8 + size]
        if name == b"fmt ":
            form = _format(bytes(body))
        elif name == b"data":
            if form is None:
                raise WaveError("its samples come before their format")
            return Wave(_samples(body, form), form.rate_hz)
        at += 8 + size + size % 2
    raise WaveError("it holds no samples")


def _format(body: bytes) -> _Format:
    if len(body) < 16:
        raise WaveError("its format is cut off")
    kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE and len(body) >= 26:
        kind = int.from_bytes(body[24:26], "little")
    if (kind, bits) not in ((_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)):
        raise WaveError(f"it is coded as format {kind} with {bits} bits: save it as PCM of 8 to 32 bits")
    if not channels or not _SLOWEST_HZ <= rate_hz <= _FASTEST_HZ:
        raise WaveError(f"it says {channels} channels at {rate_hz} Hz")
    return _Format(kind, channels, rate_hz, bits)


def _samples(body: memoryview, form: _Format) -> Array:
    width = form.bits // 8
    frames = len(body) // (width * form.channels)
    numbers = _numbers(body[: frames * width * form.channels], form)
    mono: Array = numbers.reshape(frames, form.channels).mean(axis=1, dtype=np.float32)
    if form.kind == _FLOAT and not np.isfinite(mono).all():
        raise WaveError("it holds NaN or infinity")
    return mono


def _numbers(body: memoryview, form: _Format) -> Array:
    if form.kind == _FLOAT:
        return np.frombuffer(body, f"<f{form.bits // 8}").astype(np.float32)
    if form.bits == 8:  # the only unsigned one
        return (np.frombuffer(body, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if form.bits == 24:
        padded = np.zeros((len(body) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    return np.frombuffer(body, f"<i{form.bits // 8}").astype(np.float32) / np.float32(2 ** (form.bits - 1))


def resample(samples: Array, from_hz: int, to_hz: int) -> Array:
    """Return `samples` [n] at another rate, [round(n * to_hz / from_hz)] float32.

    A polyphase low-pass: the sum over neighbours of sample * sinc * Kaiser window, with the cut-off
    at the lower of both rates (Smith, Digital Audio Resampling). Outside the sound is silence.
    """
    if from_hz == to_hz or not len(samples):
        return np.asarray(samples, np.float32)
    step = gcd(from_hz, to_hz)
    up, down = to_hz // step, from_hz // step
    table, reach = _filter(min(up, _MOST_PHASES), up / down)
    padded = np.pad(np.asarray(samples, np.float32), (reach, reach + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)
    out = np.empty(max(1, round(len(samples) * up / down)), np.float32)
    for start in range(0, len(out), _CHUNK):
        number = np.arange(start, min(start + _CHUNK, len(out)), dtype=np.int64)
        whole, rest = np.divmod(number * down, up)
        phase = rest * len(table) // up
        taps = windows[np.minimum(whole + 1, len(windows) - 1)]
        out[start : start + len(number)] = np.einsum("nk,nk->n", taps, table[phase])
    return out


@lru_cache(maxsize=8)
def _filter(phases: int, ratio: float) -> tuple[Array, int]:
    """Return the taps of each phase, float32 [phases, 2 * reach], and `reach`, in input samples."""
    cutoff = min(1.0, ratio) * _BAND
    reach = int(np.ceil(_CROSSINGS / min(1.0, ratio)))
    # Tap k of phase p weighs the input that is (k - reach + 1) samples after the one before the output.
    distance = np.arange(2 * reach) - (reach - 1) - (np.arange(phases) / phases)[:, np.newaxis]
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None)))
    taps = cutoff * np.sinc(cutoff * distance) * window / np.i0(_KAISER_BETA)
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32), reach
