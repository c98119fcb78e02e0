"""A sampled input as a person sees it: a picture, curves, or values in a table. Pure.

Which of them is told by the shape of the tensor and by what the bundle says of its preparation:

- a picture has a side of 8 or more each way and 1 or 3 channels, or none and no side four times the other;
- what is longer in one direction is a row of values for each of a few channels, one after the other in time;
- the rest are values without an order, each with its column's name where the bundle tells it.

The preparation of a picture is undone, so that a dark one is seen dark. Where the bundle declares none, the
range of the tensor's type, or 0 to 1, or -1 to 1, is black to white; else the values are stretched, and said
to be. What a device sends may be anything: bytes that do not fit the release are not drawn.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fleet.requantizing import real, unpacked
from fleet.web.png import png
from fleet.web.reading import Meaning
from fleet.web.wording import significant
from wire.manifest import Preprocessing, TensorSpec

Array = npt.NDArray[Any]

_NUMBERS: Final = frozenset(
    ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool")
)
_LEAST_SIDE: Final = 8
_MOST_RATIO: Final = 4
#: Pixels of a side that are sent: a page has sixty of them.
_MOST_PIXELS: Final = 96
_MOST_VALUES: Final = 64
_MOST_CURVES: Final = 6
_MOST_DRAWN: Final = 3
_WIDTH: Final = 160
_HEIGHT: Final = 48
_WHITE: Final = 255.0
_SLACK: Final = 1e-3


@dataclass(frozen=True)
class Picture:
    """A picture as the address of its own bytes; `width` and `height` are those of the input."""

    source: str
    width: int
    height: int
    stretched: bool = False
    kind: str = "picture"


@dataclass(frozen=True)
class Curves:
    """Values in an order: a path for each channel, in a box of 160 by 48; of `channels` there may be more."""

    paths: Sequence[str]
    length: int
    channels: int
    low: str
    high: str
    kind: str = "curves"


@dataclass(frozen=True)
class Values:
    """Values without an order, by name; `more` are left out."""

    rows: Sequence[tuple[str, str]]
    more: int = 0
    kind: str = "values"


Drawn = Picture | Curves | Values


def drawn(text: str | None, meaning: Meaning) -> Sequence[Drawn]:
    """Return each input tensor of a sample as it is seen; nothing of one that has none, or does not fit."""
    if text is None or not meaning.inputs or not {spec.dtype for spec in meaning.inputs} <= _NUMBERS:
        return ()
    tensors = unpacked(text, meaning.inputs)
    if tensors is None:
        return ()
    pairs = zip(tensors[:_MOST_DRAWN], meaning.inputs, strict=False)
    return [_drawn(tensor, spec, meaning, first=i == 0) for i, (tensor, spec) in enumerate(pairs)]


def _drawn(tensor: Array, spec: TensorSpec, meaning: Meaning, *, first: bool) -> Drawn:
    values = np.asarray(real(tensor, spec), np.float64)
    how = meaning.preprocessing if first else Preprocessing()
    shape = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape  # without the batch
    picture = _as_picture(values.reshape(shape), how)
    if picture is not None:
        return _picture(picture, spec, how)
    rows = np.squeeze(values)
    if rows.ndim == 1 and (len(rows) > _MOST_VALUES or how.kind == "wave" or len(spec.shape) > 2):
        return _curves(rows[:, None])
    if rows.ndim == 2:
        return _curves(rows)
    return _values(rows.reshape(-1), meaning.columns if first else {})


def _as_picture(values: Array, how: Preprocessing) -> Array | None:
    """Return values that look like a picture as [height, width, channels], else None."""
    pixels = how.height * how.width
    if how.kind == "image" and values.ndim == 1 and pixels and values.size % pixels == 0:
        values = values.reshape(how.height, how.width, -1)
    if values.ndim == 3 and (how.channels_first or values.shape[2] not in (1, 3)):
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 2:
        short, long = sorted(values.shape)
        if how.kind not in ("image", "log-mel") and long > _MOST_RATIO * short:
            return None
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or min(values.shape[:2]) < _LEAST_SIDE:
        return None
    return values


def _picture(values: Array, spec: TensorSpec, how: Preprocessing) -> Picture:
    height, width, _ = values.shape
    step = -(-max(height, width) // _MOST_PIXELS)
    levels, stretched = _levels(values[::step, ::step], spec, how)
    pixels = np.clip(np.nan_to_num(levels), 0, _WHITE).astype(np.uint8)
    if how.order == "bgr":
        pixels = pixels[:, :, ::-1]
    source = f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"
    return Picture(source, width, height, stretched)


def _levels(values: Array, spec: TensorSpec, how: Preprocessing) -> tuple[Array, bool]:
    """Return values as 0 to 255, and whether they had to be stretched to it."""
    fitting = {len(how.mean), len(how.std)} <= {0, 1, values.shape[2]}
    if how.kind == "image" and how.scale and fitting:
        raw = values * np.array(how.std or 1.0) + np.array(how.mean or 0.0)
        return (raw - how.offset) / how.scale, False
    low, high = _range(values, spec, how)
    stretched = low is None
    if low is None or high is None:
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return (values - low) * (_WHITE / (high - low or 1.0)), stretched


def _range(values: Array, spec: TensorSpec, how: Preprocessing) -> tuple[float | None, float | None]:
    """Return what is black and what is white, None where nothing tells it."""
    if np.dtype(spec.dtype).itemsize == 1 and how.kind == "none":
        limits = np.iinfo(spec.dtype) if spec.dtype != "bool" else None
        ends = np.array([limits.min, limits.max] if limits else [0, 1])
        low, high = (float(v) for v in real(ends, spec))
        return low, high
    with np.errstate(invalid="ignore"):
        if how.kind == "none" and np.all((values >= -_SLACK) & (values <= 1 + _SLACK)):
            return 0.0, 1.0
        if how.kind == "none" and np.all((values >= -1 - _SLACK) & (values <= 1 + _SLACK)):
            return -1.0, 1.0
    return None, None


def _curves(rows: Array) -> Curves:
    """Return the curves of values [moments, channels]; of what is too long for the box the extremes."""
    if rows.shape[0] < rows.shape[1] and rows.shape[0] <= _MOST_CURVES:
        rows = rows.T
    known = rows[np.isfinite(rows)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    paths = [_path(rows[:, i], low, high - low or 1.0) for i in range(min(rows.shape[1], _MOST_CURVES))]
    return Curves(paths, rows.shape[0], rows.shape[1], significant(low), significant(high))


def _path(values: Array, low: float, span: float) -> str:
    points = _extremes(values)
    wide = max(1, len(values) - 1)
    return " ".join(f"{i * _WIDTH / wide:.1f},{_HEIGHT - (v - low) / span * _HEIGHT:.1f}" for i, v in points)


def _extremes(values: Array) -> list[tuple[int, float]]:
    """Return the points to draw, without what is no number: all, or the lowest and the highest of as many
    pieces as there are pixels."""
    known = np.flatnonzero(np.isfinite(values))
    if len(values) <= 2 * _WIDTH:
        return [(int(i), float(values[i])) for i in known]
    kept: list[tuple[int, float]] = []
    for piece in np.array_split(known, min(_WIDTH, max(1, len(known)))):
        if len(piece):
            part = values[piece]
            ends = sorted({int(part.argmin()), int(part.argmax())})
            kept += [(int(piece[i]), float(part[i])) for i in ends]
    return kept


def _values(values: Array, columns: Any) -> Values:
    shown = values[:_MOST_VALUES].tolist()
    rows = [(columns.get(str(i), str(i)), significant(value)) for i, value in enumerate(shown)]
    return Values(rows, max(0, len(values) - len(shown)))
