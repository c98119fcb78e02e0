"""The golden set: inputs with the chosen model's own answers, for a device to give again. Pure.

Rules:
- the same test data makes the same set, byte for byte;
- every class is in it, with its least certain samples first: a wrong kernel shows there earliest;
- `expected` is what the shipped model answers, not what is true: it proves the arithmetic of a
  device, and accuracy is measured elsewhere.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_COUNT: Final = 24
_INPUT_BYTES: Final = 16 * 1024 * 1024  # half of what a bundle's reader accepts

#: Float kernels differ by the order of their sums: 1.2e-7 between two interpreters on the digits model.
_FLOAT_TOLERANCE: Final = 1e-4
#: Integer kernels may round up or down in every layer, and a softmax stretches that for uncertain
#: samples: XNNPACK and the reference kernels differ by up to 10 of 256 codes on the digits model. It
#: is noise of the kind that quantization itself makes, so what that was measured to be is allowed
#: too. A wrong kernel, in contrast, answers at random: it misses by about the whole range.
_INTEGER_TOLERANCE: Final = 0.1
_MOST: Final = 0.5


def choose(inputs: Array, truth: Array, outputs: Array) -> Array:
    """Return the rows of the golden set: class by class in turn, least certain, median, most certain, …"""
    count = min(_COUNT, len(inputs), max(1, _INPUT_BYTES // inputs[0].nbytes))
    margin = _margin(outputs)
    queues = []
    for number in np.unique(truth):
        members = np.flatnonzero(truth == number)
        ranked = members[np.argsort(margin[members], kind="stable")]
        queues.append([int(ranked[i]) for i in _spread(len(ranked))])
    turns = max(len(queue) for queue in queues)
    rows = [queue[turn] for turn in range(turns) for queue in queues if turn < len(queue)]
    return np.asarray(rows[:count], np.int64)


def encode(inputs: Array, expected: Array) -> bytes:
    """Return the npz of a bundle: `inputs` and `expected`, float32, batch first."""
    file = io.BytesIO()
    np.savez_compressed(file, inputs=inputs.astype(np.float32), expected=expected.astype(np.float32))
    return file.getvalue()


def tolerance(expected: Array, quantization_error: float | None) -> float:
    """Return by how much a device may differ: a share of the range of the golden outputs.

    `quantization_error` is the largest difference from the original's outputs on the test data, or
    None for a model that is not quantized.
    """
    spread = float(np.ptp(expected)) or 1.0
    if quantization_error is None:
        return spread * _FLOAT_TOLERANCE
    return min(max(spread * _INTEGER_TOLERANCE, quantization_error), spread * _MOST)


def _margin(outputs: Array) -> Array:
    """Return how far the best output is ahead of the second; 0 is a tie."""
    if outputs.shape[-1] < 2:
        return np.zeros(len(outputs), outputs.dtype)
    top = np.sort(outputs, axis=-1)
    margin: Array = top[:, -1] - top[:, -2]
    return margin


def _spread(size: int) -> list[int]:
    """Return positions 0..size-1, beginning with the first, the middle and the last."""
    first = list(dict.fromkeys([0, size // 2, size - 1]))
    return first + [i for i in range(size) if i not in first]
