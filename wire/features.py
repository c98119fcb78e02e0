"""The features of inputs, computed the same way where a reference is made and where inputs are counted. Pure.

Sources: luminance by ITU-R BT.601, as pictures become grey; sharpness as the variance of the Laplacian
(Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wire.manifest import Preprocessing
from wire.reference import COLUMN, PICTURES, Feature

Array = npt.NDArray[Any]

_LUMINANCE: Final = np.array([0.299, 0.587, 0.114])
_LEAST_SIDE: Final = 3  # of a picture: the Laplacian needs a neighbour on each side
_NEAR_THE_END: Final = 0.01

_SUMMARIES: Final[Mapping[str, Callable[..., Array]]] = {
    "mean": np.mean,
    "deviation": np.std,
    "smallest": np.min,
    "largest": np.max,
}


def picture_of(rows: Array, how: Preprocessing) -> Array | None:
    """Return the luminance of pictures, float64 [n, height, width], in the values that the model takes.

    `rows` are inputs [n, …] of real values, `how` says how they lie. None where they are no pictures.
    """
    count = len(rows)
    if rows.ndim == 2 and how.height and rows[:1].size == how.height * how.width * max(1, how.channels):
        rows = rows.reshape(count, how.height, how.width, -1)
    if how.channels_first and rows.ndim == 4:
        rows = np.moveaxis(rows, 1, -1)
    if rows.ndim == 3 and how.kind == "image":
        rows = rows[..., np.newaxis]
    if rows.ndim != 4 or rows.shape[-1] not in (1, 3, 4) or min(rows.shape[1:3]) < _LEAST_SIDE:
        return None
    colours = rows[..., :3].astype(np.float64)
    if rows.shape[-1] == 1:
        return colours[..., 0]
    grey: Array = colours @ (_LUMINANCE[::-1] if how.order == "bgr" else _LUMINANCE)
    return grey


def measure(feature: Feature, rows: Array, how: Preprocessing) -> Array | None:
    """Return a feature of inputs [n, …] of real values, float64 [n]; None where they do not have it."""
    if feature.measure in PICTURES:
        picture = picture_of(rows, how)
        return None if picture is None else _of_picture(feature, picture)
    flat = rows.reshape(len(rows), -1)
    if feature.measure == COLUMN:
        return flat[:, feature.column].astype(np.float64) if feature.column < flat.shape[1] else None
    return _SUMMARIES[feature.measure](flat.astype(np.float64), axis=1) if flat.shape[1] else None


def count(feature: Feature, values: Array) -> Array:
    """Return how many of the finite values fell into each bin, int64 [bins]."""
    finite = values[np.isfinite(values)]
    places = np.searchsorted(np.array(feature.edges), finite, side="right")
    found: Array = np.bincount(places, minlength=len(feature.edges) + 1)
    return found


def _of_picture(feature: Feature, picture: Array) -> Array:
    flat = picture.reshape(len(picture), -1)
    match feature.measure:
        case "luminance":
            found: Array = flat.mean(axis=1)
        case "contrast":
            found = flat.std(axis=1)
        case "sharpness":
            inner = picture[:, 1:-1, 1:-1]
            around = (
                picture[:, :-2, 1:-1] + picture[:, 2:, 1:-1] + picture[:, 1:-1, :-2] + picture[:, 1:-1, 2:]
            )
            found = (around - 4 * inner).reshape(len(picture), -1).var(axis=1)
        case _:
            edge = (feature.high - feature.low) * _NEAR_THE_END
            found = ((flat <= feature.low + edge) | (flat >= feature.high - edge)).mean(axis=1)
    return found
