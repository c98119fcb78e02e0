"""Wiring: a source file and a data set in, a bundle and a report out.

One thread. Every foreign library runs in a child process (converter/adapters/child.py), one after
the other. Nothing is written before everything is known; the source is only read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from converter.adapters import interpreter, keras_source, quantizer
from converter.adapters.keras_source import Converted
from converter.adapters.npz import read_dataset
from converter.dataset import Dataset, calibration_rows, check_fits
from converter.evaluation import evaluate
from converter.packing import Candidate, GoldenSet, golden_set, make_bundle
from converter.report import Report, Row, chance_warning, loss_warnings, to_json
from wire.adapters.files import write_atomic
from wire.bundle import Bundle, pack, unpack
from wire.errors import ModelError, SettingsError, UnavailableError
from wire.manifest import Manifest
from wire.topics import check_name

Recipe = Literal["int8", "float32"]
RECIPES: Final[tuple[Recipe, ...]] = get_args(Recipe)

#: Called with what happens now, in a few words.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert, with what, to where; `report_out` is the JSON report's file, if any."""

    source: Path
    data: Path
    out: Path
    model: str
    version: str
    recipe: Recipe = "int8"
    report_out: Path | None = None


@dataclass(frozen=True)
class ConvertResult:
    """What was written."""

    out: Path
    bundle_bytes: int
    manifest: Manifest
    report: Report


def convert(request: ConvertRequest, progress: Progress) -> ConvertResult:
    """Convert, measure, prove and write; raise an EdgeflockError and leave no file behind."""
    _check_request(request)
    progress("reading the data set")
    data = read_dataset(request.data)
    progress("loading and converting with Keras")
    converted = keras_source.convert(request.source, data.x_test)
    check_fits(data, converted.answers.shape[-1], str(request.data))
    original = Row(
        "Keras", request.source.stat().st_size, evaluate(converted.answers, converted.answers, data.y_test)
    )
    measured = [_measure(form, converted, data, progress) for form in _forms(request.recipe)]
    chosen = measured[-1].candidate
    proof = golden_set(chosen, data.x_test, data.y_test)
    runtimes, warnings = _prove(chosen, proof, progress)
    rows = (original, *(one.row for one in measured))
    warnings += loss_warnings(original, rows[-1], data.labels)
    if guess := chance_warning(original, float(np.max(data.x_test))):
        warnings.append(guess)
    bundle = make_bundle(
        chosen,
        original.evaluation,
        proof,
        model=request.model,
        version=request.version,
        labels=data.labels,
        runtimes=runtimes,
        source=_sha256(request.source),
    )
    report = Report(
        request.model, request.version, request.recipe, rows, data.labels, runtimes, tuple(warnings)
    )
    progress("writing")
    return _write_both(request, bundle, report)


def _forms(recipe: Recipe) -> tuple[Recipe, ...]:
    """Return the forms to measure; the last one is shipped."""
    return ("float32",) if recipe == "float32" else ("float32", recipe)


def _check_request(request: ConvertRequest) -> None:
    check_name("model name (--name)", request.model)
    check_name("version (--version)", request.version)
    sources = {path.resolve() for path in (request.source, request.data)}
    for option, path in (("--out", request.out), ("--json", request.report_out)):
        if path is None:
            continue
        if path.resolve() in sources:
            raise SettingsError(f"{option} {path} is the source: it would be overwritten")
        if path.is_dir():
            raise SettingsError(f"{option} {path} is a folder: name a file")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise SettingsError(f"{option} {path}: its folder is not there or cannot be written")
    if request.report_out is not None and request.report_out.resolve() == request.out.resolve():
        raise SettingsError(f"--out and --json name the same file: {request.out}")


@dataclass(frozen=True)
class _Measured:
    candidate: Candidate
    row: Row


def _measure(form: Recipe, converted: Converted, data: Dataset, progress: Progress) -> _Measured:
    tflite = converted.tflite
    if form == "int8":
        progress("quantizing to int8")
        tflite = quantizer.quantize(tflite, calibration_rows(data.x_train, quantizer.CALIBRATION_LIMIT))
    progress(f"measuring {form}")
    ran = interpreter.run(tflite, data.x_test)
    if not np.isfinite(ran.answers).all():
        raise ModelError(f"the outputs of the {form} model are not finite")
    marks = evaluate(ran.answers, converted.answers, data.y_test)
    candidate = Candidate(form, tflite, ran.inputs, ran.outputs, ran.answers, marks)
    return _Measured(candidate, Row(form, len(tflite), marks, ran.latency))


def _prove(chosen: Candidate, proof: GoldenSet, progress: Progress) -> tuple[tuple[str, ...], list[str]]:
    """Return the interpreters that reproduce the golden outputs, and a warning for each that does not."""
    proved, warnings = [], []
    for backend in interpreter.installed():
        progress(f"proving on {backend}")
        try:
            again = interpreter.run(chosen.tflite, proof.inputs, backend, timed_calls=0)
            off = float(np.max(np.abs(again.answers - proof.expected)))
            if not off <= proof.tolerance:  # so that NaN is refused too
                raise ModelError(f"golden outputs differ by {off:.3g} on {backend}")
            proved.append(again.runtime)
        except (ModelError, UnavailableError) as error:
            if backend == interpreter.REFERENCE:
                raise
            warnings.append(f"not for devices with {backend}: {error}")
    return tuple(proved), warnings


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_both(request: ConvertRequest, bundle: Bundle, report: Report) -> ConvertResult:
    packed = pack(bundle)
    unpack(packed, name=str(request.out))  # the reader's own checks, before anybody relies on it
    if request.report_out is not None:
        _write(request.report_out, to_json(report))
    _write(request.out, packed)  # last: where a bundle is, everything went well
    return ConvertResult(request.out, len(packed), bundle.manifest, report)


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
