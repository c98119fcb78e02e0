"""The golden set: inputs with the outputs that the converter computed, compared on the device.

A wrong kernel or an old interpreter changes answers without any error (an int8
dynamic model that is right on LiteRT scores 8 to 13 % on tflite-runtime 2.14), so nothing serves
before it has given these answers here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge.backend import Array
from wire.errors import BundleError
from wire.manifest import Golden


@dataclass(frozen=True)
class GoldenSet:
    """The samples: for each input its values [n, ...] and for each output what is expected, [n, ...].

    Inputs are in the model's own dtype (codes for an integer model), expected values are real.
    """

    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]


@dataclass(frozen=True)
class Measured:
    """What a trial measured on this board, at the lowest priority.

    `p50_us` and `p99_us` are one call each, of `calls` on the golden inputs; `allocate_ms` is the time
    for which a load holds up everything else in its process. `peak_rss_bytes` is the whole trial's, the
    interpreter and Python included, and `needs_bytes` the model's share of it; 0 where it is not known.
    `delegated` counts the parts that a delegate (XNNPACK) runs, `operators` those that the file has.
    """

    p50_us: float
    p99_us: float
    calls: int
    allocate_ms: float
    peak_rss_bytes: int
    delegated: int
    operators: int
    needs_bytes: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether a model may serve, and why not. One that is not `conclusive` says nothing about the model.

    `measured` is there when the model has answered all golden inputs, well or not.
    """

    passed: bool
    reason: str
    conclusive: bool = True
    measured: Measured | None = None


def read_golden(data: bytes, golden: Golden) -> GoldenSet:
    """Decode the npz in a bundle; raise BundleError when it is not what the manifest says."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            found = GoldenSet(_series(archive, "inputs"), _series(archive, "expected"))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"golden set cannot be read: {error}") from error
    counts = {len(array) for array in (*found.inputs, *found.expected)}
    if counts != {golden.count}:
        raise BundleError(f"golden set has {sorted(counts)} rows, the manifest says {golden.count}")
    return found


def judge_all(expected: tuple[Array, ...], got: tuple[Array, ...], golden: Golden) -> Verdict:
    """Compare every output; return the first verdict that is not passed, else that of the first output."""
    tolerances = (golden.tolerance, *golden.other_tolerances)
    if not len(expected) == len(got) == len(tolerances):
        return Verdict(
            False,
            f"the model has {len(got)} outputs, the golden set {len(expected)}, "
            f"the manifest tolerances for {len(tolerances)}",
        )
    verdicts = [judge(*pair) for pair in zip(expected, got, tolerances, strict=True)]
    return next((verdict for verdict in verdicts if not verdict.passed), verdicts[0])


def judge(expected: Array, got: Array, tolerance: float) -> Verdict:
    """Compare one golden output: all finite, and none further than `tolerance` from what was expected."""
    if not len(expected):
        return Verdict(False, "golden set is empty")
    expected, got = expected.reshape(len(expected), -1), got.reshape(max(1, len(got)), -1)
    if expected.shape != got.shape:
        return Verdict(False, f"output has shape {list(got.shape)}, expected is {list(expected.shape)}")
    if not np.all(np.isfinite(got)):
        return Verdict(False, "output is not finite")
    worst = float(np.max(np.abs(got.astype(np.float64) - expected)))
    if not worst <= tolerance:  # so that NaN among the expected is refused too
        wrong = int(np.sum(np.argmax(got, -1) != np.argmax(expected, -1)))
        return Verdict(
            False,
            f"golden outputs differ by {worst:.4g}, allowed {tolerance:.4g}; "
            f"{wrong} of {len(got)} answers changed",
        )
    return Verdict(True, f"golden outputs within {worst:.4g}")


def _series(archive: Mapping[str, Array], name: str) -> tuple[Array, ...]:
    """Return the arrays `name`, `name_1`, `name_2`, …: the first has no number, as most models need none."""
    found = [archive[name]]
    while (key := f"{name}_{len(found)}") in archive:
        found.append(archive[key])
    return tuple(found)
