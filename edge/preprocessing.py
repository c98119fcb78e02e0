"""From a raw picture or sound to the model's input, as the manifest declares it. Pure numpy.

Rules:
- the device sees what calibration saw: grey is Pillow's to the last bit and resizing to one level,
  though no Pillow is needed here (a camera's frames come as arrays);
- a raw sample that cannot be what the manifest says is an InputError; a manifest that cannot be
  followed is a BundleError;
- the weights of a filter are computed once for a size and kept.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Final

import numpy as np

from edge.backend import Array
from edge.mel import log_mel
from wire.errors import BundleError, InputError
from wire.manifest import Preprocessing

#: Red, green and blue in 65,536ths, as ITU-R 601-2 gives them and Pillow rounds them.
_LUMA: Final = np.array([19595, 38470, 7471], np.uint32)
#: Pillow's weights have this many bits behind the point: 255 times their sum still fits 32 bits.
_BITS: Final = 22
_HALF: Final = 1 << (_BITS - 1)
#: Numbers that are worked on at a time: 256 kB, which a small board's cache holds.
_BLOCK: Final = 65536


def prepare(sample: Array, how: Preprocessing, shape: tuple[int, ...]) -> Array:
    """Return float32 of `shape` (the input's, without the batch) made from a raw sample.

    A raw image is uint8 [height, width, 3] (RGB) or [height, width] (grey); a raw sound is float32
    [samples] from -1 to 1 at `how.rate_hz`, or int16. With kind `none` the sample is returned as it is.
    Raises InputError and BundleError.
    """
    if how.kind == "none":
        return sample
    if how.kind == "image":
        return _image(sample, how, shape)
    if how.kind not in ("wave", "log-mel"):
        raise BundleError(f"the bundle prepares inputs by {how.kind!r}, which this version cannot: update it")
    sound = _sound(sample)
    if how.kind == "wave":
        return _finished(_cut(sound, prod(shape)), how).reshape(shape)
    frames, bands = _frames_and_bands(how, shape)
    needed = how.window + (frames - 1) * how.hop
    levels = log_mel(_cut(sound, needed), how)
    return _finished(levels, how).reshape(shape) if bands else levels


# images


def _image(sample: Array, how: Preprocessing, shape: tuple[int, ...]) -> Array:
    image = np.asarray(sample)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"an image is uint8 [height, width, 3], got {image.dtype} {list(image.shape)}")
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.shape[2] not in (1, 3):
        raise InputError(f"an image has 3 channels (RGB) or 1 (grey), got {image.shape[2]}")
    height, width = _size(how, shape)
    channels = how.channels or 3
    if channels == 1 and image.shape[2] == 3:
        image = grey(image)
    elif channels == 3 and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    pixels = resize(image, height, width)
    if how.order == "bgr":
        pixels = pixels[:, :, ::-1]
    finished = _finished(pixels, how)
    return (finished.transpose(2, 0, 1) if how.channels_first else finished).reshape(shape)


def _size(how: Preprocessing, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of the input; raise BundleError where `shape` has no room for such images."""
    channels = how.channels or 3
    height, width = how.height, how.width
    if not (height and width):
        if len(shape) == 3 and how.channels_first:
            height, width = shape[1:]
        elif len(shape) in (2, 3):
            height, width = shape[:2]
    if height * width * channels != prod(shape) or channels not in (1, 3):
        raise BundleError(f"the bundle declares images of {channels} channels, its input is {list(shape)}")
    return height, width


def grey(image: Array) -> Array:
    """Return uint8 [height, width, 1] of uint8 [height, width, 3]: ITU-R 601-2, as Pillow's mode L."""
    weighted = image.astype(np.uint32) @ _LUMA
    return ((weighted + 0x8000) >> 16).astype(np.uint8)[:, :, np.newaxis]


def resize(image: Array, height: int, width: int) -> Array:
    """Return uint8 [height, width, channels] of uint8 [h, w, channels].

    Bilinear with anti-aliasing: where a picture shrinks, the triangle is as wide as the pixels it
    stands for, so that every one of them counts. Weights and roundings are those of Pillow's
    `Resampling.BILINEAR` (src/libImaging/Resample.c); it may take the two axes in the other order, and
    differs by one level at most then.
    """
    if image.shape[0] != height:  # first: rows lie in one piece
        image = _along(image, height)
    if image.shape[1] != width:
        image = np.ascontiguousarray(_along(image.transpose(1, 0, 2), width).transpose(1, 0, 2))
    return image


def _along(image: Array, size: int) -> Array:
    """Return uint8 [size, ...] of uint8 [old, ...], interpolated along the first axis."""
    rows = np.ascontiguousarray(image).reshape(len(image), -1)
    places, weights = _triangles(len(image), size)
    made = np.empty((size, rows.shape[1]), np.uint8)
    step = max(1, _BLOCK // rows.shape[1])
    for start in range(0, size, step):
        block = slice(start, start + step)
        mixed = np.full((len(places[block]), rows.shape[1]), _HALF, np.int32)  # so that the shift rounds
        for tap in range(places.shape[1]):
            mixed += np.multiply(rows[places[block, tap]], weights[block, tap, np.newaxis])
        mixed >>= _BITS
        made[block] = mixed
    return made.reshape(size, *image.shape[1:])


@lru_cache(maxsize=8)
def _triangles(old: int, new: int) -> tuple[Array, Array]:
    """Return which old rows make each new one, and their weights in 2**-22, both int [new, taps]."""
    scale = old / new
    reach = max(scale, 1.0)
    centre = (np.arange(new)[:, np.newaxis] + 0.5) * scale
    first = np.maximum(np.floor(centre - reach + 0.5), 0).astype(np.int64)
    places = first + np.arange(int(2 * np.ceil(reach)) + 1)
    weights = np.clip(1 - np.abs(places + 0.5 - centre) / reach, 0, None) * (places < old)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(places, old - 1), np.floor(weights * 2**_BITS + 0.5).astype(np.int32)


# sound


def _sound(sample: Array) -> Array:
    sound = np.asarray(sample)
    if sound.ndim != 1 or (sound.dtype.kind != "f" and sound.dtype != np.int16):
        raise InputError(
            f"a sound is float32 [samples] from -1 to 1, or int16: got {sound.dtype} {list(sound.shape)}"
        )
    if sound.dtype == np.int16:
        return sound.astype(np.float32) / np.float32(32768)
    return sound.astype(np.float32, copy=False)


def _cut(sound: Array, length: int) -> Array:
    """Return `length` samples: the first ones, or all of them and silence."""
    if len(sound) >= length:
        return sound[:length]
    return np.pad(sound, (0, length - len(sound)))


def _frames_and_bands(how: Preprocessing, shape: tuple[int, ...]) -> tuple[int, int]:
    sizes = [n for n in shape if n != 1] if prod(shape) != how.bands else [1, how.bands]
    if len(sizes) == 1 and how.bands == 1:
        sizes = [sizes[0], 1]
    if len(sizes) != 2 or sizes[1] != how.bands:
        raise BundleError(f"the bundle declares {how.bands} bands of sound, its input is {list(shape)}")
    if not 0 < how.window <= how.fft or how.hop < 1 or how.rate_hz < 1:
        raise BundleError("the bundle declares a log-mel that cannot be: window 1 to fft, hop, rate_hz")
    return sizes[0], sizes[1]


# the last step of all


def _finished(values: Array, how: Preprocessing) -> Array:
    """Return float32 (value * scale + offset - mean) / std, channels last: one multiply and one add."""
    last = values.shape[-1]
    mean, std = (np.asarray(numbers, np.float64) for numbers in (how.mean or (0.0,), how.std or (1.0,)))
    if {mean.size, std.size} - {1, last}:
        raise BundleError(
            f"the bundle declares {mean.size} means and {std.size} deviations for {last} channels"
        )
    if not std.all():
        raise BundleError("the bundle declares a deviation of 0")
    factor, shift = how.scale / std, (how.offset - mean) / std
    finished: Array = np.multiply(values, factor.astype(np.float32), dtype=np.float32)
    np.add(finished, shift.astype(np.float32), out=finished)
    return finished
