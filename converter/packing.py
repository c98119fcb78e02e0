"""From measured parts to a bundle. Pure.

Nothing that changes from run to run goes in (no time, no latency): the same source and data make
the same bytes, so a bundle converted twice is one blob to a fleet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from converter import golden
from converter.codes import to_codes
from converter.evaluation import Array, Evaluation
from converter.reference import count_answers, make_reference
from converter.task import Task
from wire.bundle import Bundle, labels_digest
from wire.errors import ModelError
from wire.manifest import Golden, Manifest, Postprocessing, Preprocessing, TensorSpec


@dataclass(frozen=True)
class Candidate:
    """A model file that was run on the evaluated rows: its tensors, and for each output its answers [n, ...].

    `name` says how it was made, such as `int8 prune80+4bit`. One that is `exact` computes in floats:
    another kernel differs by rounding alone.
    """

    name: str
    tflite: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answers: tuple[Array, ...]
    differences: tuple[float, ...]
    exact: bool = False


@dataclass(frozen=True)
class GoldenSet:
    """The golden inputs as the model takes them, what it answers, and by how much a device may differ."""

    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]
    tolerances: tuple[float, ...]


@dataclass(frozen=True)
class Label:
    """What a bundle says of itself, besides the model: who it is, how it is read, where it comes from."""

    model: str
    version: str
    task: Task = "classes"
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    source_sha256: str = ""
    operators: tuple[str, ...] = ()
    min_runtime: str = ""
    memory_bytes: int = 0
    machines: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


def golden_set(chosen: Candidate, rows: tuple[Array, ...], truth: Array | None) -> GoldenSet:
    """Pick the golden set of `chosen` from the evaluated rows, [n, ...] for each input."""
    stored = tuple(to_codes(spec, array) for spec, array in zip(chosen.inputs, rows, strict=True))
    row_bytes = sum(array[0].nbytes for array in stored) + sum(4 * part[0].size for part in chosen.answers)
    count = golden.count_for(len(rows[0]), row_bytes, len(chosen.tflite))
    picked = golden.choose(_strata(chosen, truth), golden.certainty(chosen.answers[0]), count)
    expected = tuple(answers[picked] for answers in chosen.answers)
    tolerances = tuple(
        golden.tolerance(part, None if chosen.exact else difference)
        for part, difference in zip(expected, chosen.differences, strict=True)
    )
    return GoldenSet(tuple(array[picked] for array in stored), expected, tolerances)


def make_bundle(
    chosen: Candidate,
    proof: GoldenSet,
    source: Evaluation,
    score: Evaluation,
    label: Label,
    *,
    rows: tuple[Array, ...] = (),
) -> Bundle:
    """Put everything in its place; `source` and `score` are the marks of the original and of the chosen.

    `rows` are the evaluated inputs, [n, ...] for each; made-up ones are none that live inputs should be like.
    """
    manifest = Manifest(
        model=label.model,
        version=label.version,
        recipe=chosen.name,
        tflite_sha256=hashlib.sha256(chosen.tflite).hexdigest(),
        tflite_bytes=len(chosen.tflite),
        inputs=chosen.inputs,
        outputs=chosen.outputs,
        golden=Golden(len(proof.inputs[0]), proof.tolerances[0], proof.tolerances[1:]),
        runtimes=label.runtimes,
        metrics=_metrics(source, score),
        labels=len(label.labels),
        labels_sha256=labels_digest(label.labels),
        source=label.source_sha256,
        task=label.task,
        preprocessing=label.preprocessing,
        postprocessing=label.postprocessing,
        operators=label.operators,
        min_runtime=label.min_runtime,
        memory_bytes=label.memory_bytes,
        machines=label.machines,
        provenance=dict(sorted(label.provenance.items())),
    )
    answered = count_answers(chosen.answers[0], chosen.outputs[0], label.task, label.postprocessing)
    reference = (
        make_reference(rows, chosen.inputs, label.preprocessing, answered, label.columns) if rows else None
    )
    proof_bytes = golden.encode(proof.inputs, proof.expected)
    return Bundle(manifest, chosen.tflite, label.labels, proof_bytes, reference)


def _strata(chosen: Candidate, truth: Array | None) -> Array:
    """Return what makes samples alike: their class where one is known, else the answer they got."""
    count = len(chosen.answers[0])
    if truth is not None and truth.dtype.kind == "i" and truth.shape == (count,):
        return truth
    rows = chosen.answers[0].reshape(count, -1)
    return np.argmax(rows, axis=1) if rows.shape[1] > 1 else np.zeros(count, np.int64)


def _metrics(source: Evaluation, score: Evaluation) -> dict[str, float]:
    """Return shares by name, those that the task has; `float_` are the original's."""
    found: dict[str, float | None] = {"agreement": score.agreement}
    if score.classes is not None and source.classes is not None:
        found |= {
            "accuracy": score.classes.accuracy,
            "float_accuracy": source.classes.accuracy,
            "worst_recall": score.classes.worst_recall,
            "macro_f1": score.classes.macro_f1,
            "calibration_error": score.classes.calibration_error,
        }
    if score.values is not None and source.values is not None:
        found |= {
            "mae": score.values.mae,
            "rmse": score.values.rmse,
            "r2": score.values.r2,
            "float_mae": source.values.mae,
            "float_r2": source.values.r2,
        }
    return {name: value for name, value in found.items() if value is not None}


def check_golden(proof: GoldenSet, answers: tuple[Array, ...], backend: str) -> None:
    """Raise ModelError unless `answers` of the interpreter `backend` are what the golden set expects."""
    for expected, got, allowed in zip(proof.expected, answers, proof.tolerances, strict=True):
        off = float(np.max(np.abs(got - expected)))
        if not off <= allowed:  # so that NaN is refused too
            raise ModelError(f"golden outputs differ by {off:.3g} on {backend}, {allowed:.3g} allowed")
