"""The manifest: what a bundle says about the model inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: The userlands of boards, as `uname -m` has them of a system that is 32 or 64 bits throughout.
MACHINES: Final = ("aarch64", "armv7l", "x86_64")


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

    `kind` says what a raw sample is:

    - `none`: what the model takes; nothing is done;
    - `image`: uint8 [height, width, 3], RGB. It becomes `channels` (1: grey, or 3), is resized to the
      input's height and width, and its colours are put in `order` (`rgb` or `bgr`);
    - `wave`: float32 [samples] from -1 to 1 at `rate_hz`, cut or filled with silence to the input's length;
    - `log-mel`: a wave as before, of which the input takes [frames, bands]. A frame has `window` samples
      (Hann), the next one starts `hop` samples later, and `fft` points are computed of each; `bands`
      triangles from `low_hz` to `high_hz` on the `mel` scale (`htk` or `slaney`) are summed over the
      magnitudes to the power of `power`, and the natural logarithm is taken of max(sum, `floor`) + `added`.

    Whatever the kind, `(value * scale + offset - mean) / std` comes last; `mean` and `std` have a number
    for each channel (of a picture, in `order`) or a single one, and are left out when empty.
    `channels_first` says that the input is [channels, height, width]. Where the input's shape does not
    tell the size (all pixels in one row), `height` and `width` do.
    """

    kind: str = "none"
    channels: int = 0
    scale: float = 1.0
    offset: float = 0.0
    order: str = "rgb"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    height: int = 0
    width: int = 0
    channels_first: bool = False
    rate_hz: int = 0
    window: int = 0
    hop: int = 0
    fft: int = 0
    bands: int = 0
    low_hz: float = 0.0
    high_hz: float = 0.0
    mel: str = "htk"
    power: float = 2.0
    floor: float = 1e-10
    added: float = 0.0


@dataclass(frozen=True)
class Postprocessing:
    """How the outputs become an answer in words: labels with scores, or boxes.

    `kind` is

    - `none`: the best class, yes or no, or the values, as the task says;
    - `top-k`: the `top_k` best classes of the first output whose score reaches `threshold`;
    - `threshold`: every class of the first output whose score reaches `threshold` (several may);
    - `boxes`: things found, each with a box, a class and a score of at least `threshold`; of boxes of
      one class that overlap by more than `iou` (intersection over union) the best stays, and at
      most `top_k` (0: 100) are given.

    `activation` (`none`, `softmax` or `sigmoid`) is applied to the scores first. `layout` says what the
    outputs of a detector are: `corners` (boxes [n, 4] as y0, x0, y1, x1; scores [n, classes]) or
    `detections` (boxes, classes, scores, count: TFLite_Detection_PostProcess); `outputs` names them in
    that order, by name or by position (`1` is the second), and where it is empty they are taken in the
    model's order. `first_class` is the number
    of the model's class that the first label is for: 1 where class 0 means that nothing is there.
    """

    kind: str = "none"
    top_k: int = 0
    threshold: float = 0.0
    activation: str = "none"
    iou: float = 0.5
    layout: str = "corners"
    outputs: tuple[str, ...] = ()
    first_class: int = 0


@dataclass(frozen=True)
class Software:
    """What a release of our own software (wire/software.py) needs of a board, and what it speaks.

    `python_from` is the first Python that it runs on (`3.11`), `python_below` the first one that it does
    not (empty: none is known). It speaks the protocol `protocol`, and that of servers back to
    `protocol_from` (wire/protocol.py). `packages` are the distributions in it with their versions.
    """

    python_from: str
    protocol: int
    protocol_from: int
    python_below: str = ""
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Everything a device or a server needs to know before it reads the model.

    `tflite_sha256` and `tflite_bytes` describe the model part, that is the file without the
    appended zip. `task` says how the first output is to be read: `classes` (one share or logit for
    each), `binary` (one share), `values` (numbers in the target's unit) or `unlabelled`.
    `runtimes` are the interpreters on which the golden outputs were reproduced; `operators` are what
    the model needs (`CONV_2D 3`: name and version) and `min_runtime` the first TensorFlow Lite
    release that has them. `machines` are the userlands that it is for (`aarch64`, `armv7l`, `x86_64`;
    none: all), `memory_bytes` what it needs at the least beside an interpreter without a model (0: not
    known).
    `metrics` are measured on the held-out split, `float_accuracy` among them.
    `source` is the SHA-256 of what was converted, `provenance` what else took part, by name:
    the data's digest and the versions of packages.
    `software` is set where there is no model: the release is one of our own software, `tflite_sha256` and
    `tflite_bytes` are those of its list of files and of the files, and nothing is said of tensors.
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
    labels_sha256: str = ""
    source: str = ""
    task: str = "classes"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    operators: tuple[str, ...] = ()
    min_runtime: str = ""
    provenance: dict[str, str] = field(default_factory=dict)
    machines: tuple[str, ...] = ()
    memory_bytes: int = 0
    software: Software | None = None
    v: int = 1
