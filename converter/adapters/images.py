"""Image files as arrays, through Pillow.

Rules:
- the options settle size and channels, else the model's input does; without either all images must
  be alike;
- images are resized by interpolation over all pixels (bilinear), and a photo's orientation mark is
  not applied, as Keras does not;
- pixels become shares of 255 unless the options say otherwise; what they declare for devices is done
  here too, so that calibration sees what a device will;
- every file is opened before the first is decoded, so that all bad ones are named at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from converter.dataset import Array, DataOptions, Scale, check_memory
from wire.errors import DataError
from wire.manifest import Preprocessing

ENDINGS: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_MODES: Final = {1: "L", 3: "RGB"}
_GREY_MODES: Final = ("1", "L", "LA")
_DEEP_MODES: Final = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
#: What each scale divides by, adds then, and what the note says.
_SCALES: Final[dict[Scale, tuple[float, float, str]]] = {
    "raw": (1.0, 0.0, "stay 0 to 255"),
    "unit": (255.0, 0.0, "are divided by 255; a model that does so itself needs --scale raw"),
    "signed": (127.5, -1.0, "are brought to -1 to 1"),
}


@dataclass(frozen=True)
class Decoded:
    """Images as float32 [n, ...], what to tell the user, and how a device prepares another one alike."""

    samples: Array
    notes: tuple[str, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class _Seen:
    """What an image file says of itself."""

    path: Path
    size: tuple[int, int]  # height, width
    mode: str


@dataclass(frozen=True)
class _Form:
    """What every image becomes."""

    size: tuple[int, int]  # height, width
    channels: int
    channels_first: bool
    flat: bool


def decode(paths: list[Path], root: Path, options: DataOptions) -> Decoded:
    """Read the image files below `root` as [n, height, width, channels].

    Where `shape_hint` says so the channels come before the height, or all pixels are one row. Raises
    DataError for files that are no images of 8 bits, sizes that differ, and too many pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about palettes and large photos, to nobody who could act
        seen = _look(paths, root)
        form = _form(seen, root, options)
        shape = (*form.size, form.channels)
        check_memory(len(paths), shape, np.dtype(np.float32).itemsize, str(root))
        samples = _decode_all(paths, root, form)
    how, scaled = _preprocessing(form, options)
    samples = _prepared(samples, how, str(root))
    notes = [f"{len(paths)} images of {'x'.join(map(str, shape))}; pixels {scaled}"]
    resized = sum(one.size != form.size for one in seen)
    if resized:
        notes.append(f"{resized} of {len(seen)} images are resized (bilinear)")
    return Decoded(_arranged(samples, form), tuple(notes), how)


def _preprocessing(form: _Form, options: DataOptions) -> tuple[Preprocessing, str]:
    """Return how a device makes such an input, and what the note says of pixels."""
    divisor, shift, said = _SCALES[options.scale]
    how = Preprocessing("image", scale=1.0 / divisor, offset=shift)
    if options.preprocessing is not None and options.preprocessing.kind == "image":
        how, said = options.preprocessing, "are prepared as --preprocess says"
    height, width = form.size if form.flat else (0, 0)
    return (
        replace(how, channels=form.channels, height=height, width=width, channels_first=form.channels_first),
        said,
    )


def _prepared(samples: Array, how: Preprocessing, name: str) -> Array:
    """Return [n, height, width, channels] in the declared order, scaled, less mean, over std."""
    for numbers in (how.mean, how.std):
        if len(numbers) not in (0, 1, how.channels):
            raise DataError(f"{name}: --preprocess: mean and std need 1 or {how.channels} numbers")
    if how.order == "bgr":
        samples = samples[..., ::-1]
    mean, std = np.asarray(how.mean or (0.0,)), np.asarray(how.std or (1.0,))
    samples *= (how.scale / std).astype(np.float32)
    samples += ((how.offset - mean) / std).astype(np.float32)
    return samples


def _look(paths: list[Path], root: Path) -> list[_Seen]:
    """Open every file, decode none; refuse what is no image of 8 bits."""
    seen, bad = [], []
    for path in paths:
        try:
            with Image.open(path) as image:
                seen.append(_Seen(path, (image.height, image.width), image.mode))
        except Exception:  # Pillow's readers raise what they like for a broken file
            bad.append(path)
    _refuse(bad, root)
    for one in seen:
        if one.mode in _DEEP_MODES:
            raise DataError(
                f"{one.path} has more than 8 bits a pixel: save it with 8, or as npy scaled as in training"
            )
    return seen


def _decode_all(paths: list[Path], root: Path, form: _Form) -> Array:
    samples = np.empty((len(paths), *form.size, form.channels), np.float32)
    bad = []
    for row, path in enumerate(paths):
        try:
            samples[row] = _pixels(path, form)
        except Exception:  # Pillow's decoders raise what they like for a broken file
            bad.append(path)
    _refuse(bad, root)
    return samples


def _pixels(path: Path, form: _Form) -> Array:
    height, width = form.size
    with Image.open(path) as image:
        pixels = image.convert(_MODES[form.channels])
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(height, width, form.channels)


def _refuse(bad: list[Path], root: Path) -> None:
    if bad:
        names = [str(path.relative_to(root)) for path in bad]
        more = f" ({len(bad)} such files: {', '.join(names[:8])}{', …' if len(bad) > 8 else ''})"
        raise DataError(f"{root}: {names[0]} is no image that can be read{more if len(bad) > 1 else ''}")


def _form(seen: list[_Seen], root: Path, options: DataOptions) -> _Form:
    size, channels, channels_first = _hinted(options.shape_hint or (), root)
    size, channels = options.image_size or size, options.channels or channels
    if channels is None:
        channels = 1 if all(one.mode in _GREY_MODES for one in seen) else 3
    if channels not in _MODES:
        raise DataError(f"{root}: images are given 1 or 3 channels, not {channels}")
    if size is None:
        size = _common_size(seen, root)
    flat = options.shape_hint == (size[0] * size[1] * channels,)
    return _Form(size, channels, channels_first, flat)


def _hinted(hint: tuple[int, ...], root: Path) -> tuple[tuple[int, int] | None, int | None, bool]:
    """Return size and channels of a model's input where it tells, and whether the channels come first.

    One long row tells neither; a length below 1 is open.
    """
    if len(hint) < 2:
        return None, None, False
    if len(hint) > 3:
        raise DataError(f"{root}: the model takes {list(hint)}, which no image is")
    channels_first = len(hint) == 3 and hint[2] not in _MODES and hint[0] in _MODES
    channels, *rest = hint if channels_first else (hint[2] if len(hint) == 3 else 1, *hint)
    size = (rest[0], rest[1]) if min(rest[:2]) > 0 else None
    return size, channels if channels > 0 else None, channels_first


def _common_size(seen: list[_Seen], root: Path) -> tuple[int, int]:
    first = seen[0]
    for one in seen:
        if one.size != first.size:
            odd, usual = ("x".join(map(str, image.size)) for image in (one, first))
            raise DataError(
                f"{root}: {one.path.relative_to(root)} is {odd}, {first.path.relative_to(root)} {usual}: "
                "give --image-size HxW"
            )
    return first.size


def _arranged(samples: Array, form: _Form) -> Array:
    if form.channels_first:
        return np.ascontiguousarray(samples.transpose(0, 3, 1, 2))
    return samples.reshape(len(samples), -1) if form.flat else samples
