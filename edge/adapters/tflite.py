"""The two interpreters behind one port: ai-edge-litert and tflite-runtime.

- ai-edge-litert is the maintained one (64-bit); tflite-runtime 2.14 has the last 32-bit wheels and
  needs numpy < 2, which shows only when an interpreter is constructed.
- The classic `Interpreter` is used on both: Python's CompiledModel is slower for small models and
  holds the GIL while it runs.
- Inputs are written through a held view of the tensor's memory. The public `invoke` refuses to run
  while such a view exists, so the wrapper's own `Invoke` is called; where that is not to be had,
  views are private arrays that are copied with `set_tensor`.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.backend import Array, Loader, Tensor
from wire.errors import ModelError, SettingsError, UnavailableError

_MODULES: Final = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}

#: What an interpreter raises for a bad model: besides these two, names that are not UTF-8, absurd sizes.
_LOAD_ERRORS: Final = (ValueError, RuntimeError, UnicodeError, MemoryError, TypeError, SystemError)


class TfliteInterpreter:
    """One model in one interpreter with preallocated tensors."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.inputs = tuple(_tensor(d) for d in interpreter.get_input_details())
        self.outputs = tuple(_tensor(d) for d in interpreter.get_output_details())
        for tensor in self.inputs:  # memory as it was found is no index into an embedding
            interpreter.set_tensor(tensor.index, np.zeros(tensor.shape, tensor.dtype))
        self._raw_invoke = _raw_invoke(interpreter)
        self._views = [self._view(tensor) for tensor in self.inputs]

    def input_view(self, position: int) -> Array:
        return self._views[position]

    def invoke(self) -> None:
        try:
            if self._raw_invoke is not None:
                self._raw_invoke()
                return
            for tensor, view in zip(self.inputs, self._views, strict=True):
                self._interpreter.set_tensor(tensor.index, view)
            self._interpreter.invoke()
        except _LOAD_ERRORS as error:
            raise ModelError(f"the model failed while running: {_line(error)}") from error

    def output(self, position: int) -> Array:
        copy: Array = self._interpreter.get_tensor(self.outputs[position].index)
        return copy

    def close(self) -> None:
        self._views.clear()
        self._raw_invoke = None
        self._interpreter = None
        _release_memory()

    def _view(self, tensor: Tensor) -> Array:
        if self._raw_invoke is None:
            return np.zeros(tensor.shape, tensor.dtype)
        view: Array = self._interpreter.tensor(tensor.index)()
        view[...] = 0
        return view


def make_loader(backend: str = "auto", *, threads: int = 1) -> Loader:
    """Return a function that loads model files with `backend` (`auto` takes what is installed).

    Raises SettingsError for an unknown name and UnavailableError when the package is missing.
    """
    name = _choose(backend)
    interpreter_class = importlib.import_module(_MODULES[name]).Interpreter

    def load(path: Path) -> TfliteInterpreter:
        if not path.is_file():
            raise ModelError(f"{path} is not there")
        try:
            interpreter = interpreter_class(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except _LOAD_ERRORS as error:
            raise ModelError(f"{path} cannot be loaded by {name}: {_line(error)}") from error
        return TfliteInterpreter(interpreter)

    return load


def backend_version(backend: str = "auto") -> str:
    """Return the chosen backend with its version, such as `ai-edge-litert 2.3.0`."""
    name = _choose(backend)
    return f"{name} {importlib.metadata.version(name)}"


def installed_backends() -> list[str]:
    """Return the names of the interpreters that are installed, the preferred one first."""
    return [name for name, module in _MODULES.items() if _importable(module)]


def _choose(backend: str) -> str:
    if backend not in ("auto", *_MODULES):
        raise SettingsError(f"backend {backend!r}: choose auto, {' or '.join(_MODULES)}")
    if backend != "auto":
        if not _importable(_MODULES[backend]):
            raise UnavailableError(f"{backend} is not installed: pip install '{backend}'")
        return backend
    found = installed_backends()
    if not found:
        raise UnavailableError("no TFLite interpreter is installed: pip install 'edgeflock[edge]'")
    return found[0]


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    return Tensor(
        index=int(details["index"]),
        name=str(details["name"]),
        dtype=np.dtype(details["dtype"]),
        shape=tuple(int(n) for n in details["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _raw_invoke(interpreter: Any) -> Callable[[], Any] | None:
    """Return the wrapper's own Invoke, or None where this version does not have it as we know it."""
    raw = getattr(getattr(interpreter, "_interpreter", None), "Invoke", None)
    if raw is None:
        return None
    for call in (raw, lambda: raw(0)):  # newer wrappers take the index of the subgraph
        try:
            call()
        except TypeError:
            continue
        except _LOAD_ERRORS as error:
            raise ModelError(f"the model failed while running: {_line(error)}") from error
        return call
    return None


def _release_memory() -> None:
    """Give freed arenas back: without it 100 swaps left 109 MB of a 72 MB process."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # a C library without it
        return


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
