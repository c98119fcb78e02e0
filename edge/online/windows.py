"""Cutting a stream of audio into windows of equal length. Pure; lengths are in samples.

Window k holds the samples [k * hop, k * hop + window). With hop < window they overlap; with
hop > window what lies between is passed over. A rest at the end that fills no window is not answered:
padding it would show the model a sound that was not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wire.errors import SettingsError

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Windowing:
    """How a stream is cut: `window` and `hop` in samples, at `rate_hz` samples a second."""

    window: int
    hop: int
    rate_hz: int

    def __post_init__(self) -> None:
        if self.window < 1 or self.hop < 1 or self.rate_hz < 1:
            raise SettingsError("window, hop and rate of audio must be at least one sample")

    def name(self, start: int) -> str:
        """Return the name of the window that begins at sample `start`: its time in seconds."""
        return f"{start / self.rate_hz:.3f}"


class Windower:
    """Takes pieces of any length and gives back the windows that they complete."""

    def __init__(self, windowing: Windowing) -> None:
        self._how = windowing
        self._kept: Wave = np.empty(0, np.float32)
        self._start = 0  # of the next window
        self._skip = 0  # samples before it that are still to come, with hop > window

    @property
    def kept(self) -> int:
        """How many samples wait for their window to be full; always less than a window."""
        return len(self._kept)

    def feed(self, piece: Wave) -> Iterator[tuple[int, Wave]]:
        """Take the next samples; yield (first sample, window) for each window that is full now.

        Each window is a copy of its own. All must be taken before the next piece is fed.
        """
        passed = min(self._skip, len(piece))
        self._skip -= passed
        wave = np.concatenate((self._kept, piece[passed:])) if len(self._kept) else piece[passed:]
        at, window, hop = 0, self._how.window, self._how.hop
        while at + window <= len(wave):
            yield self._start, wave[at : at + window].astype(np.float32, copy=True)
            at += hop
            self._start += hop
        self._skip += max(0, at - len(wave))
        self._kept = wave[at:].astype(np.float32, copy=True)

    def forget(self) -> None:
        """Begin anew: a window must not bridge a gap in what was heard."""
        self._start += len(self._kept) - self._skip
        self._kept = np.empty(0, np.float32)
        self._skip = 0


def pcm_to_wave(pcm: bytes) -> Wave:
    """Return 16-bit little-endian mono PCM as float32 in [-1, 1)."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
