"""What a caller of a model relies on, and whether another model keeps to it.

A model that was retrained by itself may replace one that people released only if no caller could tell
but by better answers: the server refuses others before it signs, the device before it fetches. Names of
tensors do not count, since converters number them anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from wire.manifest import Manifest, Postprocessing, Preprocessing, TensorSpec


@dataclass(frozen=True)
class Contract:
    """Inputs and outputs with dtypes, shapes and quantization, how they are prepared and read.

    `software` is the digest of its files: nothing that is released automatically keeps to that.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: int
    task: str
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    labels_sha256: str = ""
    software: str = ""


def contract_of(manifest: Manifest) -> Contract:
    """Return what callers of the model with this manifest rely on."""
    return Contract(
        inputs=_nameless(manifest.inputs),
        outputs=_nameless(manifest.outputs),
        labels=manifest.labels,
        task=manifest.task,
        preprocessing=manifest.preprocessing,
        postprocessing=manifest.postprocessing,
        labels_sha256=manifest.labels_sha256,
        software=manifest.tflite_sha256 if manifest.software else "",
    )


def broken_terms(contract: Contract, other: Contract) -> tuple[str, ...]:
    """Return the names of the fields in which `other` differs from `contract`; none if it is kept."""
    return tuple(f.name for f in fields(Contract) if getattr(contract, f.name) != getattr(other, f.name))


def _nameless(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, name="") for spec in specs)
