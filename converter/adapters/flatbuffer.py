"""Reads and edits TFLite files as the flatbuffers that they are, without an interpreter.

- litert-quantizer raises neither an operator's version nor `min_runtime_version`: both are put right
  here, so that an old runtime refuses what it would answer wrongly.
- It puts large constants behind the flatbuffer, where readers that know nothing of it see empty
  weights, and small ones at any multiple of 4. What is written here has all of them inside, at
  multiples of 16, as the schema wants it (`force_align`): Arm's 64-bit loads rely on it.
- The same model is always the same bytes.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from converter.calibration import code_limits
from converter.graph import Array, Call, Graph, Tensor
from converter.operators import Operator, first_runtime, later, needed_version
from converter.recipes import Ranges
from wire.errors import ModelError

_IDENTIFIER: Final = b"TFL3"
_ALIGNMENT: Final = 16
_RUNTIME_KEY: Final = b"min_runtime_version"
#: The size that TensorFlow gives the text of that key.
_RUNTIME_BYTES: Final = 16
#: How litert-quantizer's name for the codes of a float tensor ends.
_CODED: Final = "_quantized"
#: What the schema calls a tensor's scales when they are those of blocks.
_BLOCKS: Final = 2


def read_graphs(tflite: bytes) -> tuple[Graph, ...]:
    """Return the model's graph, then those of its loops; raise ModelError for what is no TFLite file."""
    return _File(tflite).graphs()


def operators(tflite: bytes) -> tuple[Operator, ...]:
    """Return the kinds of operators that the model holds, in the order of their first use."""
    file = _File(tflite)
    counts = Counter(kind for kinds in file.kinds() for kind in kinds)
    return tuple(Operator(file.names[kind], file.versions[kind], count) for kind, count in counts.items())


def min_runtime(tflite: bytes) -> str:
    """Return the first TensorFlow Lite runtime with all operators of the model: "2.17.0"; "" if unknown."""
    file = _File(tflite)
    return _runtime(file.runtime(), file.names, file.versions)


def parameter_bytes(tflite: bytes) -> int:
    """Return the bytes of the model's float32 constants, its weights; each counts once."""
    file = _File(tflite)
    float32 = {
        tensor.Buffer() for graph in file.subgraphs for tensor in _all(graph, "Tensors") if not tensor.Type()
    }
    return sum(len(file.data(position)) for position in float32)


def activation_ranges(tflite: bytes) -> Ranges:
    """Return the ranges that the codes of the model's integer activations stand for, by tensor.

    Calibrated with them, a model of the same layers gets the same scales, to the last bit.
    """
    ranges = {}
    for tensor in (tensor for graph in read_graphs(tflite) for tensor in graph.tensors):
        if not tensor.constant and len(tensor.scales) == 1 and tensor.dtype in ("int8", "int16"):
            name = tensor.name.removesuffix(_CODED)
            ranges[name] = code_limits(tensor.scales[0], tensor.zero_points[0], tensor.dtype)
    return ranges


def with_true_versions(tflite: bytes) -> bytes:
    """Return the model with the operator versions and the first runtime that its tensors' types need.

    A version that is higher already stays: the converter knows of options that need it.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = _File(tflite)
    versions = list(file.versions)
    for graph, kinds in zip(file.graphs(), file.kinds(), strict=True):
        for call, kind in zip(graph.calls, kinds, strict=True):
            needed = needed_version(call.operator, graph.taken(call), graph.given(call))
            versions[kind] = max(versions[kind], needed)
    model = schema.ModelT.InitFromObj(file.model)
    for code, version in zip(model.operatorCodes, versions, strict=True):
        code.version = version
    for position, buffer in enumerate(model.buffers):
        if buffer.size:
            buffer.data, buffer.offset, buffer.size = file.data(position), 0, 0
    _set_runtime(model, _runtime(file.runtime(), file.names, versions))
    return _packed(model)


class _File:
    """A TFLite file, opened: views into its bytes."""

    def __init__(self, tflite: bytes) -> None:
        self.tflite = tflite
        self.model = _opened(tflite)
        self.subgraphs = _all(self.model, "Subgraphs")
        codes = _all(self.model, "OperatorCodes")
        self.names = [_name(code) for code in codes]
        self.versions: list[int] = [code.Version() for code in codes]

    def kinds(self) -> list[list[int]]:
        """Return for each operator of each graph the position of its name and version."""
        return [[call.OpcodeIndex() for call in _all(graph, "Operators")] for graph in self.subgraphs]

    def data(self, position: int) -> Array:
        """Return a constant's bytes, uint8 [n], wherever they are in the file."""
        buffer = self.model.Buffers(position)
        if buffer.Size():
            return np.frombuffer(self.tflite, np.uint8, buffer.Size(), buffer.Offset())
        data: Array = buffer.DataAsNumpy() if buffer.DataLength() else np.empty(0, np.uint8)
        return data

    def runtime(self) -> str:
        """Return the runtime that the file names; "" if it names none."""
        for entry in _all(self.model, "Metadata"):
            if entry.Name() == _RUNTIME_KEY:
                return self.data(entry.Buffer()).tobytes().rstrip(b"\0").decode("ascii", errors="replace")
        return ""

    def graphs(self) -> tuple[Graph, ...]:
        return tuple(self._graph(graph) for graph in self.subgraphs)

    def _graph(self, graph: Any) -> Graph:
        return Graph(
            tensors=tuple(self._tensor(tensor) for tensor in _all(graph, "Tensors")),
            calls=tuple(
                Call(self.names[call.OpcodeIndex()], _numbers(call, "Inputs"), _numbers(call, "Outputs"))
                for call in _all(graph, "Operators")
            ),
            inputs=_numbers(graph, "Inputs"),
            outputs=_numbers(graph, "Outputs"),
        )

    def _tensor(self, tensor: Any) -> Tensor:
        dtype = _enumerated("TensorType", tensor.Type()).lower()
        shape, data = _numbers(tensor, "Shape"), self.data(tensor.Buffer())
        coding = tensor.Quantization()
        return Tensor(
            name=(tensor.Name() or b"").decode(errors="replace"),
            dtype=dtype,
            shape=shape,
            constant=data.size > 0,
            values=_values(data, dtype, shape),
            scales=tuple(coding.ScaleAsNumpy().tolist()) if coding and coding.ScaleLength() else (),
            zero_points=tuple(coding.ZeroPointAsNumpy().tolist())
            if coding and coding.ZeroPointLength()
            else (),
            blocks=coding is not None and coding.DetailsType() == _BLOCKS,
        )


def _opened(tflite: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    if tflite[4:8] != _IDENTIFIER:
        raise ModelError("it is no TFLite file")
    try:
        model = schema.Model.GetRootAs(tflite, 0)
        _all(model, "Subgraphs")
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise ModelError("it is no whole TFLite file") from error
    return model


def _all(table: Any, name: str) -> list[Any]:
    """Return the entries of a vector of tables."""
    return [getattr(table, name)(position) for position in range(getattr(table, f"{name}Length")())]


def _numbers(table: Any, name: str) -> tuple[int, ...]:
    """Return the entries of a vector of numbers."""
    return tuple(getattr(table, f"{name}AsNumpy")().tolist()) if getattr(table, f"{name}Length")() else ()


def _name(code: Any) -> str:
    if custom := code.CustomCode():
        return str(custom.decode(errors="replace"))
    # Two fields: the old one has 7 bits, and a file may use either.
    return _enumerated("BuiltinOperator", max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))


@functools.cache
def _enumerated(kind: str, number: int) -> str:
    """Return the schema's name for a number; "#99" for one that is newer than the schema here."""
    from ai_edge_litert import schema_py_generated as schema

    names = vars(getattr(schema, kind)).items()
    return next((name for name, known in names if known == number), f"#{number}")


def _values(data: Array, dtype: str, shape: tuple[int, ...]) -> Array | None:
    """Return a constant's values; None for what is none, or has a type that numpy lacks."""
    try:
        return data.view(dtype).reshape(shape) if data.size else None
    except (TypeError, ValueError):
        return None


def _runtime(named: str, names: Iterable[str], versions: Iterable[int]) -> str:
    for name, version in zip(names, versions, strict=True):
        named = later(named, first_runtime(name, version))
    return named


def _set_runtime(model: Any, runtime: str) -> None:
    from ai_edge_litert import schema_py_generated as schema

    text = np.frombuffer(runtime.encode().ljust(_RUNTIME_BYTES, b"\0"), np.uint8)
    entries = [entry for entry in model.metadata or [] if entry.name == _RUNTIME_KEY]
    if entries:
        model.buffers[entries[0].buffer].data = text
        return
    model.buffers.append(schema.BufferT(data=text))
    entry = schema.MetadataT(name=_RUNTIME_KEY, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]


def _packed(model: Any) -> bytes:
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # the library has no types
        """Writes vectors of bytes, which in a model are constants, at multiples of 16."""

        def CreateNumpyVector(self, x: Array) -> Any:  # noqa: N802  # the library's own name
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, x.size)
            return super().CreateNumpyVector(x)

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
