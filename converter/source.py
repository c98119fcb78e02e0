"""A model as it comes in, and as every later step takes it: float32 TFLite for one row at a time. Pure.

Rules:
- a source is converted once, to float32 with built-in operators; what follows never sees its framework
  again, but for fine-tuning;
- the order of `inputs`, `outputs`, `rows` and `answers` is the model's own, and that of the tensors in
  the TFLite file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy.typing as npt

Array = npt.NDArray[Any]

#: What a source may be, as far as later steps do otherwise for it: RNN layers, attention layers, decision
#: trees, weights that can be trained further, and a scaler that stands in front.
Trait = Literal["recurrent", "attention", "trees", "trainable", "normalizes"]
TRAITS: Final[tuple[Trait, ...]] = get_args(Trait)

#: What the name of each tensor of a scaler contains that is computed apart from the layer behind it.
SCALER_MARK: Final = "edgeflock_scaler"


@dataclass(frozen=True)
class InputSpec:
    """One input: its name in data sets and in the TFLite signature, its dtype, its shape without batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SourceOptions:
    """What the user may say about a source: Python files with its own layers, which signature is meant."""

    code: tuple[Path, ...] = ()
    signature: str | None = None


@dataclass(frozen=True)
class Converted:
    """A source as float32 TFLite (batch 1, built-in operators), and what its own framework answers.

    `rows` has an array [n, ...] for each input, in its dtype: the rows given, else made-up ones that are
    the same every time. `answers` has float32 [n, ...] for each output. `framework` is "Keras",
    "TensorFlow", "TFLite", "scikit-learn" or "PyTorch". `sha256` is the file's, or for a folder that of
    its sorted lines of digest and name. `versions` are those of the packages that took part; `notes` are
    what was decided, a line each.
    """

    tflite: bytes
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    rows: tuple[Array, ...]
    answers: tuple[Array, ...]
    framework: str
    size_bytes: int
    sha256: str
    traits: frozenset[Trait] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
