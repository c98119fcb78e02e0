"""The manifest: what a bundle says about the model inside it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor.

    `shape` includes the batch dimension. `scale` and `zero_point` are set for quantized tensors:
    real = scale * (integer - zero_point), as in the TFLite quantization specification.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Golden:
    """How the golden set in the bundle is to be compared with what a device computes.

    A device may differ from the recorded outputs by at most `tolerance` (absolute, in real units),
    because kernels of different boards round differently.
    """

    count: int
    tolerance: float


@dataclass(frozen=True)
class Manifest:
    """Everything a device or a server needs to know before it reads the model.

    `tflite_sha256` and `tflite_bytes` describe the model part, that is the file without the
    appended zip. `runtimes` are the interpreters on which the golden outputs were reproduced.
    `metrics` are fractions measured on the held-out split, `float_accuracy` among them.
    """

    model: str
    version: str
    recipe: str
    tflite_sha256: str
    tflite_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: Golden
    runtimes: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    labels: int = 0
    source: str = ""
    v: int = 1
