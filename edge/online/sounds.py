"""How a stream of sound is cut for a model: what the bundle declares, or what the settings say. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edge.online.windows import Windowing
from wire.errors import SettingsError
from wire.manifest import Manifest


@dataclass(frozen=True)
class Sounds:
    """The settings: window and hop in seconds, 0 for the model's window and half of it; samples a second."""

    window_s: float
    hop_s: float
    audio_hz: int

    def rate_hz(self, manifest: Manifest | None) -> int:
        """Return the samples a second that the model takes: its own where it declares them."""
        declared = manifest.preprocessing.rate_hz if manifest else 0
        return declared or self.audio_hz

    def windowing(self, manifest: Manifest | None, shape: tuple[int, ...]) -> Windowing:
        """Return how to cut for a first input of `shape`; raise SettingsError when no window is known."""
        rate_hz = self.rate_hz(manifest)
        for name, length_s in (("window", self.window_s), ("hop", self.hop_s)):
            if length_s and not round(length_s * rate_hz):
                raise SettingsError(f"a {name} of {length_s:g} s is less than one sample at {rate_hz} Hz")
        window = round(self.window_s * rate_hz) or _declared_window(manifest, shape)
        if window < 1:
            raise SettingsError("the model declares no length of sound: give the window in seconds")
        return Windowing(window, round(self.hop_s * rate_hz) or max(1, window // 2), rate_hz)


def _declared_window(manifest: Manifest | None, shape: tuple[int, ...]) -> int:
    """Return the samples that fill the input, 0 when it is not known to take sound."""
    how = manifest.preprocessing if manifest else None
    if how is not None and how.kind == "log-mel" and how.bands:
        frames = prod(shape) // how.bands
        return how.window + (frames - 1) * how.hop
    long = [n for n in shape if n != 1]
    return long[0] if len(long) == 1 else 0  # [samples], with dimensions of 1 around it
