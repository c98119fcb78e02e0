"""Image files (through Pillow) and sound files as arrays.

Rules:
- what cannot be read is a DataError of one line that begins with the file's name, whatever the
  decoder raised;
- a picture is 8 bits of red, green and blue; one of 16 bits is refused, as the converter does;
- the number of pixels is checked before any is decoded: 60 kB of PNG may hold 3 GB.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from edge.backend import Array
from edge.waves import WaveError, decode_wav, resample
from wire.errors import DataError, UnavailableError

#: A photo of a board's camera has 12 million. As RGB this is 150 MB.
MAX_PIXELS: Final = 50_000_000
#: An hour of 16 bits at 16 kHz is 115 MB.
MAX_SOUND_BYTES: Final = 128 * 1024**2

_DEEP_MODES: Final = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(source: Path | str | bytes, *, upright: bool = True, name: str = "image") -> Array:
    """Read an image file, or the bytes of one: uint8 [height, width, 3], RGB.

    `upright` turns a photo as its EXIF mark says. `name` stands for bytes in errors. Raises DataError
    for what is no image of 8 bits or is too large, UnavailableError without Pillow.
    """
    pillow = _pillow()
    label = name if isinstance(source, bytes) else str(source)
    try:
        with pillow.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            _check(image, label)
            turned = pillow.ImageOps.exif_transpose(image) if upright else image
            return np.array(turned.convert("RGB"), np.uint8)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{label} is not there") from error
    except Exception as error:  # Pillow's readers raise what they like for a broken file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{label} is no image that can be read: {reason}") from error


def resize_image(image: Array, height: int, width: int) -> Array:
    """Return uint8 [height, width, 3] of uint8 [h, w, 3] as the converter resizes: Pillow's bilinear.

    The same as `edge.preprocessing.resize` but for one level here and there, and three times as fast.
    """
    if image.shape[:2] == (height, width):
        return image
    pillow = _pillow()
    picture = pillow.Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((width, height), pillow.Image.Resampling.BILINEAR), np.uint8)


def read_wav(source: Path | str | bytes, rate_hz: int = 0, *, name: str = "sound") -> Array:
    """Read a WAV file, or the bytes of one: float32 [samples] from -1 to 1, one channel, at `rate_hz`.

    A rate of 0 keeps the file's. `name` stands for bytes in errors. Raises DataError.
    """
    label = name if isinstance(source, bytes) else str(source)
    try:
        wave = decode_wav(source if isinstance(source, bytes) else _read(Path(source)))
    except WaveError as error:
        raise DataError(f"{label} is no WAV file that can be read: {error}") from error
    except OSError as error:
        raise DataError(f"{label}: {error.strerror or error}") from error
    to_hz = rate_hz or wave.rate_hz
    if 4 * len(wave.samples) * to_hz / wave.rate_hz > 4 * MAX_SOUND_BYTES:
        raise DataError(f"{label} is too long for one piece at {to_hz} Hz: cut it")
    return resample(wave.samples, wave.rate_hz, to_hz)


def _read(path: Path) -> bytes:
    size_bytes = path.stat().st_size
    if size_bytes > MAX_SOUND_BYTES:
        raise DataError(
            f"{path} has {size_bytes >> 20} MB: cut it into pieces of {MAX_SOUND_BYTES >> 20} MB at most"
        )
    return path.read_bytes()


def _check(image: Any, label: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{label} has {image.width} x {image.height} pixels, {MAX_PIXELS:,} are read: make it smaller"
        )
    if image.mode in _DEEP_MODES:
        raise DataError(f"{label} has more than 8 bits a pixel: save it with 8")


def _pillow() -> ModuleType:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise UnavailableError("reading images needs Pillow: pip install 'edgeflock[media]'") from error
    return PIL
