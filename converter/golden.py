"""The golden set: inputs with the chosen model's own answers, for a device to give again. Pure.

Rules:
- the same test data makes the same set, byte for byte;
- every class is in it, with its least certain samples first: a wrong kernel shows there earliest;
- inputs are what the model takes (codes for an integer model): they travel with every push, and
  four samples of a small image model can weigh more than a change of its weights;
- `expected` is what the shipped model answers, not what is true: it proves the arithmetic of a
  device, and accuracy is measured elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_COUNT: Final = 24
#: The set may be a twentieth of the model, or this much where a twentieth is next to nothing …
_SHARE: Final = 20
_SMALL_BYTES: Final = 8 * 1024
#: … but so many samples are needed to see anything, unless they were half of what a reader accepts.
_FEWEST: Final = 4
_MOST_BYTES: Final = 16 * 1024 * 1024

#: Float kernels differ by the order of their sums: 1.2e-7 between two interpreters on the digits model.
_FLOAT_TOLERANCE: Final = 1e-4
#: Integer kernels may round up or down in every layer, and a softmax stretches that for uncertain
#: samples: XNNPACK and the reference kernels differ by up to 10 of 256 codes on the digits model. It
#: is noise of the kind that quantization itself makes, so what that was measured to be is allowed
#: too. A wrong kernel, in contrast, answers at random: it misses by about the whole range.
_INTEGER_TOLERANCE: Final = 0.1
_MOST: Final = 0.5


def choose(strata: Array, certainty: Array, count: int) -> Array:
    """Return `count` rows: stratum by stratum in turn, least certain, median, most certain, …

    `strata` int [n] are classes (or anything that makes samples alike), `certainty` float [n].
    """
    queues = []
    for number in np.unique(strata):
        members = np.flatnonzero(strata == number)
        ranked = members[np.argsort(certainty[members], kind="stable")]
        queues.append([int(ranked[i]) for i in _spread(len(ranked))])
    turns = max(len(queue) for queue in queues)
    rows = [queue[turn] for turn in range(turns) for queue in queues if turn < len(queue)]
    return np.asarray(rows[:count], np.int64)


def count_for(rows: int, row_bytes: int, model_bytes: int) -> int:
    """Return how many samples are worth their bytes; `row_bytes` is one sample with its outputs."""
    affordable = max(_SMALL_BYTES, model_bytes // _SHARE) // max(1, row_bytes)
    possible = max(1, _MOST_BYTES // max(1, row_bytes))
    if row_bytes * _FEWEST > model_bytes:  # samples that outweigh their model: one shows a wrong kernel too
        possible = 1
    return min(rows, _COUNT, possible, max(_FEWEST, affordable))


def certainty(outputs: Array) -> Array:
    """Return for outputs [n, ...] how far the best is ahead of the second, [n]; 0 is a tie."""
    rows = outputs.reshape(len(outputs), -1)
    if rows.shape[1] < 2:
        distance: Array = np.abs(rows[:, 0] - np.median(rows))
        return distance
    top = np.sort(rows, axis=1)
    margin: Array = top[:, -1] - top[:, -2]
    return margin


def encode(inputs: Sequence[Array], expected: Sequence[Array]) -> bytes:
    """Return the npz of a bundle: `inputs`, `inputs_1`, … in the model's dtypes, `expected`, … float32."""
    arrays = {_key("inputs", i): array for i, array in enumerate(inputs)}
    arrays |= {_key("expected", i): array.astype(np.float32) for i, array in enumerate(expected)}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def tolerance(expected: Array, quantization_error: float | None) -> float:
    """Return by how much a device may differ: a share of the range of the golden outputs.

    `quantization_error` is the largest difference from the original's outputs on the test data, or
    None for a model that computes in floats.
    """
    spread = float(np.ptp(expected)) or float(np.max(np.abs(expected))) or 1.0
    if quantization_error is None:
        return spread * _FLOAT_TOLERANCE
    return min(max(spread * _INTEGER_TOLERANCE, quantization_error), spread * _MOST)


def _key(name: str, position: int) -> str:
    return f"{name}_{position}" if position else name


def _spread(size: int) -> list[int]:
    """Return positions 0..size-1, beginning with the first, the middle and the last."""
    first = list(dict.fromkeys([0, size // 2, size - 1]))
    return first + [i for i in range(size) if i not in first]
