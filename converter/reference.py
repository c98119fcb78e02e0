"""The reference of a bundle: what the evaluated inputs were like, and what the model said to them. Pure.

Rules:
- the same data and model make the same bytes: edges have five digits;
- a picture is summed up by four features, a row of at most 64 numbers has one for each, and a longer one (a
  sound, a spectrum) is summed up by four again; several inputs share the 64;
- bins are deciles, so each says as much as the others; numbers of few values have a bin for each value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from converter.evaluation import Array
from converter.table import plain
from wire import features
from wire.counters import CONFIDENCE_BINS, Classes
from wire.manifest import Postprocessing, Preprocessing, TensorSpec
from wire.reference import COLUMN, MAX_FEATURES, PICTURES, SUMMARIES, Feature, Reference
from wire.scores import are_shares, in_bins, read_scores, scores_width

_BINS: Final = 10
#: Of an input or of a column; a longer one is cut.
_LONGEST_NAME: Final = 40
#: Rows that are looked at: a decile of so many is right within a twentieth of a percent of them.
_MOST_ROWS: Final = 20_000
#: Rows at a time: what is computed of a picture takes several times its size.
_CHUNK: Final = 256


def make_reference(
    rows: tuple[Array, ...],
    inputs: tuple[TensorSpec, ...],
    preprocessing: Preprocessing,
    predicted: tuple[Classes, tuple[int, ...]],
    columns: tuple[str, ...] = (),
) -> Reference:
    """Return the reference of inputs [n, …] of real values; `predicted` is what `count_answers` found.

    `columns` are what the data calls the numbers of a row of the only input, if it calls them anything.
    """
    step = -(-len(rows[0]) // _MOST_ROWS)
    seen = tuple(array[:: max(1, step)] for array in rows)
    found: list[Feature] = []
    for position, (array, spec) in enumerate(zip(seen, inputs, strict=True)):
        # Only the first input is prepared as the manifest says: pictures of a second one are numbers.
        how = preprocessing if position == 0 else Preprocessing()
        name = plain(spec.name)[:_LONGEST_NAME] or f"input {position}"
        names = _column_names(name, array, columns if len(inputs) == 1 else ())
        room = MAX_FEATURES - len(found)
        found += list(_features(array, position, how, room, name=name, columns=names))
    classes, confidence = predicted
    return Reference(len(seen[0]), tuple(found), classes, confidence)


def count_answers(
    answers: Array, output: TensorSpec, task: str, how: Postprocessing
) -> tuple[Classes, tuple[int, ...]]:
    """Return how often each class, and which confidence, was the answer in outputs [n, …] of real values."""
    width = scores_width(task, how, output.shape)
    if width is None:
        return Classes(), ()
    classes, confidences = read_scores(answers.reshape(-1, width).astype(np.float64), how.activation)
    numbers, counts = np.unique(classes[classes >= 0], return_counts=True)
    sure = confidences[np.isfinite(confidences)]
    bins = (
        np.bincount(in_bins(sure, CONFIDENCE_BINS), minlength=CONFIDENCE_BINS) if are_shares(sure) else None
    )
    return (
        Classes(tuple(numbers.tolist()), tuple(counts.tolist())),
        () if bins is None else tuple(bins.tolist()),
    )


def _column_names(name: str, rows: Array, columns: tuple[str, ...]) -> list[str]:
    """Return a name for each number of a row: its column's, where each has one of its own, else its place."""
    width = rows[0].size if len(rows) else 0
    named = [plain(column)[:_LONGEST_NAME] for column in columns]
    if len(named) == width == len({*named} - {""}):
        return named
    return [f"{name}[{i}]" for i in range(width)]


def _features(
    rows: Array, position: int, how: Preprocessing, room: int, *, name: str, columns: list[str]
) -> Iterator[Feature]:
    """Yield the features of one input, as far as there is room for them; those without values are none."""
    if rows.dtype.kind not in "iufb" or not rows.size:
        return
    width = rows[0].size
    if features.picture_of(rows[:1], how) is not None:
        low, high = _range(rows, how)
        wanted = [Feature(f"{name} {m}", m, (), (0,), position, 0, low, high) for m in PICTURES]
    elif width <= room:
        wanted = [Feature(columns[i], COLUMN, (), (0,), position, i) for i in range(width)]
    else:
        wanted = [Feature(f"{name} {m}", m, (), (0,), position) for m in SUMMARIES]
    for feature in wanted[:room]:
        values = _measured(feature, rows, how)
        if len(values):
            binned = replace(feature, edges=(edges := _edges(values)), counts=(0,) * (len(edges) + 1))
            yield replace(binned, counts=tuple(features.count(binned, values).tolist()))


def _measured(feature: Feature, rows: Array, how: Preprocessing) -> Array:
    parts = [features.measure(feature, rows[i : i + _CHUNK], how) for i in range(0, len(rows), _CHUNK)]
    values = np.concatenate([part for part in parts if part is not None])
    finite: Array = values[np.isfinite(values)]
    return finite


def _range(rows: Array, how: Preprocessing) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for start in range(0, len(rows), _CHUNK):
        picture = features.picture_of(rows[start : start + _CHUNK], how)
        assert picture is not None
        low, high = min(low, float(picture.min())), max(high, float(picture.max()))
    return (_rounded(low), _rounded(high)) if np.isfinite([low, high]).all() else (0.0, 0.0)


def _edges(values: Array) -> tuple[float, ...]:
    different = np.unique(values)
    if len(different) <= _BINS:
        between = (different[1:] + different[:-1]) / 2
    else:
        between = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return tuple(np.unique([_rounded(edge) for edge in between.tolist()]).tolist())


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
