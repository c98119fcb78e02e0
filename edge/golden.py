"""The golden set: inputs with the outputs that the converter computed, compared on the device.

A wrong kernel or an old interpreter changes answers without any error (an int8
dynamic model that is right on LiteRT scores 8 to 13 % on tflite-runtime 2.14), so nothing serves
before it has given these answers here.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from edge.backend import Array
from wire.errors import BundleError
from wire.manifest import Golden


@dataclass(frozen=True)
class GoldenSet:
    """`inputs` float32 [n, ...] and `expected` float32 [n, outputs] of the first output."""

    inputs: Array
    expected: Array


@dataclass(frozen=True)
class Verdict:
    """Whether a model may serve, and why not. One that is not `conclusive` says nothing about the model."""

    passed: bool
    reason: str
    conclusive: bool = True


def read_golden(data: bytes, golden: Golden) -> GoldenSet:
    """Decode the npz in a bundle; raise BundleError when it is not what the manifest says."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            found = GoldenSet(archive["inputs"], archive["expected"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"golden set cannot be read: {error}") from error
    if not len(found.inputs) == len(found.expected) == golden.count:
        raise BundleError(f"golden set has {len(found.inputs)} inputs, the manifest says {golden.count}")
    return found


def judge(expected: Array, got: Array, tolerance: float) -> Verdict:
    """Compare golden outputs: all finite, and none further than `tolerance` from what was expected."""
    if expected.shape != got.shape:
        return Verdict(False, f"output shape {list(got.shape)}, expected {list(expected.shape)}")
    if not np.all(np.isfinite(got)):
        return Verdict(False, "output is not finite")
    if not len(expected):
        return Verdict(False, "golden set is empty")
    worst = float(np.max(np.abs(got.astype(np.float64) - expected)))
    if not worst <= tolerance:  # so that NaN among the expected is refused too
        wrong = int(np.sum(np.argmax(got, -1) != np.argmax(expected, -1)))
        return Verdict(
            False,
            f"golden outputs differ by {worst:.4g}, allowed {tolerance:.4g}; "
            f"{wrong} of {len(got)} answers changed",
        )
    return Verdict(True, f"golden outputs within {worst:.4g}")
