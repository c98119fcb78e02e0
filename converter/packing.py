"""From measured parts to a bundle. Pure.

Nothing that changes from run to run goes in (no time, no latency): the same source and data make
the same bytes, so a bundle converted twice is one blob to a fleet.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from converter import golden
from converter.evaluation import Array, Evaluation
from wire.bundle import Bundle
from wire.manifest import Golden, Manifest, TensorSpec


@dataclass(frozen=True)
class Candidate:
    """A model file that was run on the test data: its tensors, its outputs [n, classes], its marks."""

    name: str
    tflite: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answers: Array
    evaluation: Evaluation

    @property
    def quantized(self) -> bool:
        return any(spec.scale is not None for spec in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class GoldenSet:
    """The golden inputs and what the chosen model answers to them."""

    inputs: Array
    expected: Array
    tolerance: float


def golden_set(chosen: Candidate, inputs: Array, truth: Array) -> GoldenSet:
    """Pick the golden set of `chosen` from the test data."""
    rows = golden.choose(inputs, truth, chosen.answers)
    expected = chosen.answers[rows]
    error = chosen.evaluation.worst_difference if chosen.quantized else None
    return GoldenSet(inputs[rows], expected, golden.tolerance(expected, error))


def make_bundle(
    chosen: Candidate,
    original: Evaluation,
    proof: GoldenSet,
    *,
    model: str,
    version: str,
    labels: tuple[str, ...],
    runtimes: tuple[str, ...],
    source: str,
) -> Bundle:
    """Put everything in its place; `source` is the SHA-256 of the file that was converted."""
    score = chosen.evaluation
    manifest = Manifest(
        model=model,
        version=version,
        recipe=chosen.name,
        tflite_sha256=hashlib.sha256(chosen.tflite).hexdigest(),
        tflite_bytes=len(chosen.tflite),
        inputs=chosen.inputs,
        outputs=chosen.outputs,
        golden=Golden(len(proof.inputs), proof.tolerance),
        runtimes=runtimes,
        metrics={
            "accuracy": score.accuracy,
            "float_accuracy": original.accuracy,
            "agreement": score.agreement,
            "worst_recall": score.worst_recall,
        },
        labels=len(labels),
        source=source,
    )
    return Bundle(manifest, chosen.tflite, labels, golden.encode(proof.inputs, proof.expected))
