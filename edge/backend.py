"""The port to a TFLite interpreter: what the runtime asks of one loaded model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """An input or output tensor as the interpreter describes it.

    `name` is the tensor's in the file; `alias` is what the file's signature calls it, empty where it
    has none or several. `shape` includes the batch dimension; `scale` is 0 for a tensor that is not
    quantized per tensor.
    """

    index: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0
    alias: str = ""

    @property
    def quantized(self) -> bool:
        return self.scale != 0.0 and self.dtype.kind in "iu"  # floats may carry a scale that means nothing

    @property
    def key(self) -> str:
        """What callers call it."""
        return self.alias or self.name


@dataclass(frozen=True)
class Facts:
    """What an interpreter says about the model in it.

    `delegated` counts the partitions that a delegate (XNNPACK) runs: 0 for a model that should have
    some means that it is slow here. `stateful` models keep variables between calls.
    """

    backend: str
    operators: int
    delegated: int
    allocate_ms: float
    stateful: bool
    signatures: tuple[str, ...] = ()


#: Where a model runs: on the caller's thread, or in a process of its own.
ISOLATIONS: Final = ("thread", "process")

#: What interpreters raise when they run; whoever runs one turns it into a ModelError, once.
INTERPRETER_ERRORS: Final = (ValueError, RuntimeError, UnicodeError, MemoryError, TypeError, SystemError)


class InputMemory(Protocol):
    """Where an input goes: `memory[...] = values`, which are cast and broadcast as numpy does."""

    def __setitem__(self, key: EllipsisType, value: Any, /) -> None: ...


class Interpreter(Protocol):
    """One loaded model. Not thread-safe: two threads inside it give silently wrong answers.

    Every method may raise ModelError; `invoke` and the readers, INTERPRETER_ERRORS too: they are on the
    path of each call, where a layer that translates errors would cost as much as a small model.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    facts: Facts

    @property
    def invoke(self) -> Callable[[], Any]:
        """Runs the model on what the input views hold. Releases the GIL."""

    def input_view(self, position: int) -> InputMemory:
        """Return where an input tensor is written. Valid until `close`."""

    def reader(self, position: int) -> Callable[[], Array]:
        """Return a function that returns a fresh copy of an output tensor."""

    def resized(self, batch: int) -> Interpreter:
        """Return a new interpreter of the same file that takes `batch` rows at once."""

    def call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Run another signature of the file; values by its names, real in and out. Raises InputError."""

    def close(self) -> None:
        """Free the model."""


#: Loads a model file (the zip behind it is ignored) and returns it ready to run.
Loader = Callable[[Path], Interpreter]
