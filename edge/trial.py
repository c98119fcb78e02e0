"""The trial of a pushed model: look through its file, load it, run its golden set, judge what came.

This runs in a child process (edge/adapters/child_trial.py): a bad file can end the interpreter
with a segmentation fault, allocate without end, or never return.

Rules:
- what is cheap comes first: digests, the file's structure and signature, and only then an interpreter;
- the golden inputs run once in their order before anything else does: the answers of a model that
  keeps variables depend on it;
- each refusal is one line that names its cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from edge import postprocessing, preprocessing
from edge.backend import INTERPRETER_ERRORS, Array, Interpreter, Loader, Tensor
from edge.flatfile.model import Level
from edge.golden import GoldenSet, Measured, Verdict, judge_all, read_golden
from edge.loading import read_bundle
from edge.preflight import check, check_contract, peek
from edge.tensors import InputWriter, dequantize
from wire.bundle import Bundle
from wire.errors import BundleError, EdgeflockError, ModelError
from wire.manifest import Manifest, TensorSpec

#: Calls are timed until there are so many, or so many seconds have gone: a slow board has few to give.
_TIMED_CALLS: Final = 300
_TIMED_S: Final = 2.0
_LONGEST_REASON: Final = 400


@dataclass(frozen=True)
class Limits:
    """What a model must keep to, besides its golden set; None asks for nothing.

    `memory_bytes` is for the model alone, beside what the interpreter takes without one; `p99_us` is
    for one call; `level` is the TensorFlow Lite release whose operators the interpreter has;
    `serving` is the manifest of the model whose callers this one would get, `signed` the one that was
    signed for this bundle.
    """

    memory_bytes: int | None = None
    p99_us: float | None = None
    level: Level | None = None
    serving: Manifest | None = None
    signed: Manifest | None = None


def examine(path: Path, loader: Loader, limits: Limits | None = None) -> Verdict:
    """Return whether the bundle at `path` may serve here, and why not."""
    try:
        return attempt(path, loader, limits or Limits(), lambda _: None)
    except EdgeflockError as error:
        return refusal(error)


def refusal(error: Exception) -> Verdict:
    """Return the verdict that an error is."""
    return Verdict(False, _one_line(error))


def attempt(path: Path, loader: Loader, limits: Limits, phase: Callable[[str], None]) -> Verdict:
    """Try the bundle at `path`; raise BundleError, ModelError or InputError for what it is refused for.

    `phase` is told what begins: where the process ends there, that is all its parent will know.
    """
    phase("while its file was read")
    bundle = _read(path, limits)
    golden = read_golden(bundle.golden, bundle.manifest.golden)
    phase("while it was loaded")
    interpreter = loader(path)
    _check_tensors(interpreter.inputs, bundle.manifest.inputs)
    _check_tensors(interpreter.outputs, bundle.manifest.outputs)
    phase("on its golden inputs")
    run = _Run(interpreter, golden)
    answers = run.answers()
    verdict = judge_all(golden.expected, answers, bundle.manifest.golden)
    if not verdict.passed:
        return verdict
    _check_ways(
        bundle, interpreter, {t.key: rows[0] for t, rows in zip(interpreter.outputs, answers, strict=True)}
    )
    phase("while it was timed")
    return judge_speed(replace(verdict, measured=run.measure()), limits.p99_us)


def judge_speed(verdict: Verdict, limit_us: float | None) -> Verdict:
    """Add what was measured to the reason of a passed verdict; refuse what is slower than `limit_us`."""
    measured = verdict.measured
    if measured is None:
        return verdict
    if limit_us is not None and measured.p99_us > limit_us:
        reason = f"too slow: 99 of 100 calls take up to {measured.p99_us:.0f} us, allowed are {limit_us:.0f}"
        return replace(verdict, passed=False, reason=reason)
    told = f"p50 {measured.p50_us:.0f} us, p99 {measured.p99_us:.0f} us"
    if not measured.delegated:
        told += ", no part of it runs in XNNPACK"
    return replace(verdict, reason=f"{verdict.reason}; {told}")


def _read(path: Path, limits: Limits) -> Bundle:
    bundle = read_bundle(path)
    if limits.signed is not None and bundle.manifest != limits.signed:
        raise ModelError("its manifest is not the one that was signed for it")
    check(peek(bundle.tflite), bundle.manifest, limits.level, limits.memory_bytes)
    if limits.serving is not None:
        check_contract(bundle.manifest, limits.serving)
    return bundle


def _check_tensors(found: tuple[Tensor, ...], told: tuple[TensorSpec, ...]) -> None:
    """Compare what the interpreter made of the file with the manifest; the names were compared before."""
    here = [(str(tensor.dtype), tensor.shape) for tensor in found]
    if here != [(spec.dtype, spec.shape) for spec in told]:
        raise ModelError(f"the interpreter has tensors {here}, which are not the manifest's")


def _check_ways(bundle: Bundle, interpreter: Interpreter, outputs: dict[str, Array]) -> None:
    """Go the declared ways in and out once; raise BundleError for one that cannot be gone.

    The golden set holds the model's own inputs and outputs, and says nothing about either.
    """
    manifest, shape = bundle.manifest, interpreter.inputs[0].shape[1:]
    kind = manifest.preprocessing.kind
    raw = np.zeros((8, 8, 3), np.uint8) if kind == "image" else np.zeros(8, np.float32)
    preprocessing.prepare(raw, manifest.preprocessing, shape)
    postprocessing.answer(outputs, manifest.postprocessing, bundle.labels, manifest.task)


class _Run:
    """A model at work on its golden inputs."""

    def __init__(self, interpreter: Interpreter, golden: GoldenSet) -> None:
        count = len(interpreter.inputs)
        if len(golden.inputs) != count:
            raise BundleError(f"golden set has {len(golden.inputs)} inputs, the model takes {count}")
        self._interpreter = interpreter
        self._rows = list(zip(*golden.inputs, strict=True))
        try:
            self._writers = [
                InputWriter(t, interpreter.input_view(i)) for i, t in enumerate(interpreter.inputs)
            ]
        except ValueError as error:
            raise ModelError(f"its inputs cannot be written: {_one_line(error)}") from error
        self._readers = [interpreter.reader(i) for i in range(len(interpreter.outputs))]

    def answers(self) -> tuple[Array, ...]:
        """Return the real values of each output for all rows, [n, ...]."""
        codes = [self._call(row) for row in self._rows]
        series = zip(self._interpreter.outputs, zip(*codes, strict=True), strict=True)
        return tuple(dequantize(tensor, np.asarray(values)) for tensor, values in series)

    def measure(self) -> Measured:
        """Time call after call on the golden inputs."""
        times_us: list[float] = []
        end_s = time.perf_counter() + _TIMED_S
        while len(times_us) < _TIMED_CALLS and (not times_us or time.perf_counter() < end_s):
            start_s = time.perf_counter()
            self._call(self._rows[len(times_us) % len(self._rows)])
            times_us.append((time.perf_counter() - start_s) * 1e6)
        p50_us, p99_us = np.percentile(times_us, (50, 99))
        facts = self._interpreter.facts
        return Measured(
            p50_us=float(p50_us),
            p99_us=float(p99_us),
            calls=len(times_us),
            allocate_ms=facts.allocate_ms,
            peak_rss_bytes=0,
            delegated=facts.delegated,
            operators=facts.operators,
        )

    def _call(self, row: tuple[Array, ...]) -> list[Array]:
        for writer, value in zip(self._writers, row, strict=True):
            writer.write(value)
        try:
            self._interpreter.invoke()
            return [read() for read in self._readers]
        except INTERPRETER_ERRORS as error:
            raise ModelError(f"the model failed while running: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """Return the error's text fit for a log and a terminal: names in it are the file's, so anyone's."""
    text = "".join(char if char.isprintable() else " " for char in str(error))
    return " ".join(text.split())[:_LONGEST_REASON] or type(error).__name__
