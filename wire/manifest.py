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
    because kernels of different boards round differently. `tolerance` is the first output's;
    `other_tolerances` are those of the further outputs, in order.
    """

    count: int
    tolerance: float
    other_tolerances: tuple[float, ...] = ()


@dataclass(frozen=True)
class Preprocessing:
    """How a raw sample becomes the first input, as the converter prepared calibration and test data.

    `kind` is `none` (the caller gives what the model takes) or `image`: decoded to `channels` (1 or
    3, RGB), resized to the input's height and width, then `value * scale + offset`.
    """

    kind: str = "none"
    channels: int = 0
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Manifest:
    """Everything a device or a server needs to know before it reads the model.

    `tflite_sha256` and `tflite_bytes` describe the model part, that is the file without the
    appended zip. `task` says how the first output is to be read: `classes` (one share or logit for
    each), `binary` (one share), `values` (numbers in the target's unit) or `unlabelled`.
    `runtimes` are the interpreters on which the golden outputs were reproduced; `operators` are what
    the model needs (`CONV_2D 3`: name and version) and `min_runtime` the first TensorFlow Lite
    release that has them. `metrics` are measured on the held-out split, `float_accuracy` among them.
    `source` is the SHA-256 of what was converted, `provenance` what else took part, by name:
    the data's digest and the versions of packages.
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
    task: str = "classes"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    operators: tuple[str, ...] = ()
    min_runtime: str = ""
    provenance: dict[str, str] = field(default_factory=dict)
    v: int = 1
