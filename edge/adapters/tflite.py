"""The two interpreters behind one port: ai-edge-litert and tflite-runtime.

- ai-edge-litert is the maintained one (64-bit); tflite-runtime 2.14 has the last 32-bit wheels and
  needs numpy < 2, which shows only when an interpreter is constructed.
- The classic `Interpreter` is used on both: Python's CompiledModel is slower for small models and
  holds the GIL while it runs.
- Where the memory of the inputs cannot move, they are written through a held view of it. The public
  `invoke` refuses to run while such a view exists, so the wrapper's own `Invoke` is called.
- It can move in the first run, in which a delegate plans the memory anew, so views are taken behind
  it; and in each run of a model whose shapes depend on values (measured: 1,999 of 2,000 answers to
  `boolean_mask` were those of the first input). Only operators that never do that are trusted;
  all other models are written by `set_tensor`, which costs 1 us.
- Nothing runs in a stateful model but what its caller asks for.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import mmap
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any, Final

import numpy as np

from edge.backend import INTERPRETER_ERRORS, Array, Facts, InputMemory, Loader, Tensor
from edge.preflight import peek
from edge.tensors import InputWriter, dequantize
from wire.errors import InputError, ModelError, SettingsError, UnavailableError

_MODULES: Final = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
#: A 32-bit userland on a 64-bit kernel calls itself aarch64; what Python's integers say is true.
_PREFERRED: Final = tuple(_MODULES) if sys.maxsize > 2**32 else tuple(reversed(_MODULES))


#: Operators whose outputs have the shapes that were planned, whatever their inputs hold.
_STEADY: Final = frozenset({
    "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D",
    "DEQUANTIZE", "DIV", "ELU", "EXP", "FLOOR", "FULLY_CONNECTED", "GATHER", "GELU", "HARD_SWISH",
    "L2_NORMALIZATION", "LEAKY_RELU", "LOG", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MINIMUM",
    "MUL", "NEG", "PACK", "PRELU", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RSQRT", "SOFTMAX", "SQRT",
    "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH", "UNPACK",
})  # fmt: skip
#: Operators of which that is true while all that steers them (axes, a shape, sizes) is constant.
_STEADY_UNSTEERED: Final = frozenset({
    "ARG_MAX", "ARG_MIN", "BATCH_TO_SPACE_ND", "CAST", "DEPTH_TO_SPACE", "EXPAND_DIMS", "MEAN", "MIRROR_PAD",
    "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "SUM",
    "TILE", "TRANSPOSE", "TRANSPOSE_CONV",
})  # fmt: skip


class TfliteInterpreter:
    """One model in one interpreter with preallocated tensors. `again` makes another of the same file.

    `steady` says that the memory of its inputs stays where it is after the first run.
    """

    def __init__(self, interpreter: Any, facts: Facts, again: Callable[[int], Any], *, steady: bool) -> None:
        self._interpreter = interpreter
        self._steady = steady
        self._again = again
        self.facts = facts
        aliases = _aliases(interpreter)
        self.inputs = tuple(_tensor(d, aliases[0]) for d in interpreter.get_input_details())
        self.outputs = tuple(_tensor(d, aliases[1]) for d in interpreter.get_output_details())
        for tensor in self.inputs:  # memory as it was found is no index into an embedding
            interpreter.set_tensor(tensor.index, np.zeros(tensor.shape, tensor.dtype))
        self._raw = None if facts.stateful else _raw_invoke(interpreter)
        self._invoke: Callable[[], Any] | None = self._raw or interpreter.invoke
        self._views = [self._view(tensor) for tensor in self.inputs]

    @property
    def invoke(self) -> Callable[[], Any]:
        if self._invoke is None:
            raise ModelError("the model is closed")
        return self._invoke

    def input_view(self, position: int) -> InputMemory:
        return self._views[position]

    def reader(self, position: int) -> Callable[[], Array]:
        index = self.outputs[position].index
        raw = getattr(getattr(self._interpreter, "_interpreter", None), "GetTensor", None)
        if self._raw and raw is not None:  # the public invoke refuses to run while we hold a method of it
            for arguments in ((index,), (index, 0)):  # newer wrappers take the index of the subgraph
                try:
                    raw(*arguments)
                except TypeError:
                    continue
                except INTERPRETER_ERRORS:  # it takes them, and has nothing to give yet: an empty output
                    pass
                return functools.partial(raw, *arguments)
        return functools.partial(self._interpreter.get_tensor, index)

    def resized(self, batch: int) -> TfliteInterpreter:
        """Return a new interpreter that takes `batch` rows at once; raise ModelError if it cannot."""
        if any(tensor.shape[:1] != (1,) for tensor in (*self.inputs, *self.outputs)):
            raise ModelError("the model has no batch dimension to resize")
        try:
            other = TfliteInterpreter(self._again(batch), self.facts, self._again, steady=self._steady)
        except INTERPRETER_ERRORS as error:
            raise ModelError(f"the model cannot run {batch} rows at once: {_line(error)}") from error
        if any(tensor.shape[:1] != (batch,) for tensor in other.outputs):
            other.close()
            raise ModelError(f"the model cannot run {batch} rows at once: its outputs do not follow")
        return other

    def call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Run another signature; floats are quantized and codes made real, by its own names."""
        runner = self._interpreter.get_signature_runner(signature)
        takes = {name: _tensor(d, {}) for name, d in runner.get_input_details().items()}
        if inputs.keys() != takes.keys():
            raise InputError(
                f"inputs {sorted(map(str, inputs))} given, signature {signature!r} takes {sorted(takes)}"
            )
        values = {name: np.zeros(tensor.shape, tensor.dtype) for name, tensor in takes.items()}
        for name, tensor in takes.items():
            InputWriter(tensor, values[name]).write(inputs[name])
        gives = {name: _tensor(d, {}) for name, d in runner.get_output_details().items()}
        return {name: dequantize(gives[name], codes) for name, codes in runner(**values).items()}

    def close(self) -> None:
        self._views.clear()
        self._raw = self._invoke = None
        self._interpreter = None
        _release_memory()

    def _view(self, tensor: Tensor) -> InputMemory:
        # A scalar has no memory to hold: numpy gives its value.
        if not (self._raw and self._steady and tensor.shape):
            return _Copied(functools.partial(self._interpreter.set_tensor, tensor.index), tensor)
        view: Array = self._interpreter.tensor(tensor.index)()
        view[...] = 0
        return view


class _Copied:
    """Stands for the memory of an input that may move: what is assigned is copied to where it is now."""

    def __init__(self, set_tensor: Callable[[Array], None], tensor: Tensor) -> None:
        self._set_tensor = set_tensor
        self._scratch = np.zeros(tensor.shape, tensor.dtype)

    def __setitem__(self, key: EllipsisType, value: Any) -> None:
        scratch = self._scratch
        if value.__class__ is np.ndarray and value.dtype is scratch.dtype and value.shape == scratch.shape:
            self._set_tensor(value)
        else:
            scratch[...] = value
            self._set_tensor(scratch)


def make_loader(backend: str = "auto", *, threads: int = 1) -> Loader:
    """Return a function that loads model files with `backend` (`auto` takes what is installed).

    Raises SettingsError for an unknown name and UnavailableError when the package is missing.
    """
    name = _choose(backend)
    interpreter_class = importlib.import_module(_MODULES[name]).Interpreter

    def make(path: Path, batch: int) -> Any:
        interpreter = interpreter_class(model_path=str(path), num_threads=threads)
        if batch > 1:
            for details in interpreter.get_input_details():
                interpreter.resize_tensor_input(details["index"], (batch, *details["shape"][1:]))
        interpreter.allocate_tensors()
        return interpreter

    def load(path: Path) -> TfliteInterpreter:
        try:
            found = peek(_mapped(path))  # a damaged file ends the process in some interpreters
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from error
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        try:
            start = time.perf_counter()
            interpreter = make(path, 1)
            allocate_ms = (time.perf_counter() - start) * 1e3
            again = functools.partial(make, path)
            facts = _facts(interpreter, name, allocate_ms, stateful=found.stateful)
            trusted = _STEADY | (_STEADY_UNSTEERED - found.steered)
            steady = trusted.issuperset(operator.name for operator in found.operators)
            return TfliteInterpreter(interpreter, facts, again, steady=steady)
        except INTERPRETER_ERRORS as error:
            raise ModelError(f"{path} cannot be loaded by {name}: {_line(error)}") from error

    return load


def _mapped(path: Path) -> memoryview:
    """Return the file as the interpreter will map it: not copied into memory that nobody gives back."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ModelError("the file is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def backend_version(backend: str = "auto") -> str:
    """Return the chosen backend with its version, such as `ai-edge-litert 2.3.0`."""
    import importlib.metadata  # only here: it costs a serving process 2.4 MB, email parser and all

    name = _choose(backend)
    return f"{name} {importlib.metadata.version(name)}"


def installed_backends() -> list[str]:
    """Return the names of the interpreters that can run here, the preferred one first."""
    return [name for name in _PREFERRED if _importable(_MODULES[name]) and not _numpy_too_new(name)]


def _choose(backend: str) -> str:
    if backend not in ("auto", *_MODULES):
        raise SettingsError(f"backend {backend!r}: choose auto, {' or '.join(_MODULES)}")
    if backend != "auto":
        if not _importable(_MODULES[backend]):
            raise UnavailableError(f"{backend} is not installed: pip install '{backend}'")
        if _numpy_too_new(backend):
            raise UnavailableError(
                f"{backend} needs numpy 1, here is {np.__version__}: pip install 'numpy<2'"
            )
        return backend
    found = installed_backends()
    if not found:
        raise UnavailableError("no TFLite interpreter that can run here: pip install 'edgeflock[edge]'")
    return found[0]


def _numpy_too_new(name: str) -> bool:
    """tflite-runtime was built for numpy 1 and does not say so: it fails when it is used."""
    return name == "tflite-runtime" and int(np.__version__.split(".")[0]) > 1


def _importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _facts(interpreter: Any, backend: str, allocate_ms: float, *, stateful: bool) -> Facts:
    operators: list[str] = []
    if hasattr(interpreter, "_get_ops_details"):  # private, and the only way to see a delegate
        operators = [str(details["op_name"]) for details in interpreter._get_ops_details()]
    delegated = operators.count("DELEGATE")
    return Facts(
        backend=backend,
        operators=len(operators) - delegated,
        delegated=delegated,
        allocate_ms=allocate_ms,
        stateful=stateful,
        signatures=tuple(interpreter.get_signature_list()),
    )


def _aliases(interpreter: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Return the signature's names of inputs and outputs by tensor index, if the file has one signature."""
    full: dict[str, Any] = getattr(interpreter, "_get_full_signature_list", dict)()
    if len(full) != 1:
        return {}, {}
    (signature,) = full.values()
    inputs, outputs = ({int(i): str(n) for n, i in signature[side].items()} for side in ("inputs", "outputs"))
    return inputs, outputs


def _tensor(details: dict[str, Any], aliases: Mapping[int, str]) -> Tensor:
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if dtype.kind not in "fiub":
        raise ModelError(f"tensor {details['name']!r} holds {dtype}: numbers only can be served")
    return Tensor(
        index=int(details["index"]),
        name=str(details["name"]),
        dtype=dtype,
        shape=tuple(int(n) for n in details["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
        alias=aliases.get(int(details["index"]), ""),
    )


def _raw_invoke(interpreter: Any) -> Callable[[], Any] | None:
    """Run once by the wrapper's own Invoke and return it, or None where it is not as we know it."""
    raw = getattr(getattr(interpreter, "_interpreter", None), "Invoke", None)
    if raw is None:
        return None
    for call in (raw, functools.partial(raw, 0)):  # newer wrappers take the index of the subgraph
        try:
            call()
        except TypeError:
            continue
        except INTERPRETER_ERRORS:  # it does not take zeros: a divisor, say, or a shape
            return None
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
