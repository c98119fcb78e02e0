"""The port to a TFLite interpreter: what the runtime asks of one loaded model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """An input or output tensor as the interpreter describes it.

    `shape` includes the batch dimension; `scale` is 0 for a tensor that is not quantized per tensor.
    """

    index: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def quantized(self) -> bool:
        return self.scale != 0.0


class Interpreter(Protocol):
    """One loaded model. Not thread-safe: two threads inside it give silently wrong answers.

    Every method may raise ModelError.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def input_view(self, position: int) -> Array:
        """Return the memory of an input tensor; writing to it needs no copy. Valid until `close`."""

    def invoke(self) -> None:
        """Run the model on what the input views hold. Releases the GIL."""

    def output(self, position: int) -> Array:
        """Return a fresh copy of an output tensor."""

    def close(self) -> None:
        """Free the model."""


#: Loads a model file (the zip behind it is ignored) and returns it ready to run.
Loader = Callable[[Path], Interpreter]
