"""Real TFLite files that are well formed and do harm, built by hand, each with a bundle around it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from wire.bundle import Bundle, pack
from wire.manifest import Golden, Manifest, TensorSpec

Array = npt.NDArray[Any]

_TYPES = {"float32": 0, "int32": 2, "bool": 6, "resource": 13}
_OPEN = -1


@dataclass
class Graph:
    """A graph under construction; tensors are known by their names."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    constants: Mapping[str, Array] = field(default_factory=dict)
    steps: Sequence[tuple[str, Sequence[str], Sequence[str], Any]] = ()


def tflite(*graphs: Graph) -> bytes:
    """Return the file of these graphs, the first being the model."""
    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], []
    codes: dict[str, int] = {}
    for graph in graphs:
        model.subgraphs.append(_subgraph(model, codes, graph))
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _subgraph(model: Any, codes: dict[str, int], graph: Graph) -> Any:
    made = schema.SubGraphT()
    names = [*graph.tensors, *graph.constants]
    made.tensors = [_tensor(name, *graph.tensors[name], buffer=0) for name in graph.tensors]
    for name, value in graph.constants.items():
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        model.buffers.append(buffer)
        made.tensors.append(_tensor(name, str(value.dtype), value.shape, buffer=len(model.buffers) - 1))
    made.inputs, made.outputs = ([names.index(n) for n in side] for side in (graph.inputs, graph.outputs))
    made.operators = []
    for operator, reads, writes, options in graph.steps:
        if operator not in codes:
            codes[operator] = len(codes)
            model.operatorCodes.append(_code(operator))
        call = schema.OperatorT()
        call.opcodeIndex = codes[operator]
        call.inputs, call.outputs = ([names.index(n) for n in side] for side in (reads, writes))
        if options is not None:
            call.builtinOptions = options
            call.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        made.operators.append(call)
    return made


def _tensor(name: str, dtype: str, shape: tuple[int, ...], *, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, _TYPES[dtype], buffer
    tensor.shape = [max(1, n) for n in shape]
    if _OPEN in shape:
        tensor.shapeSignature = list(shape)
    return tensor


def _code(operator: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    return code


def bundle_of(model: bytes, inputs: Mapping[str, Array], expected: Mapping[str, Array]) -> bytes:
    """Return a bundle of `model` whose golden set is one row of `inputs` with `expected`, batch first."""
    golden = io.BytesIO()
    rows = {_key("inputs", i): value[None] for i, value in enumerate(inputs.values())}
    rows |= {_key("expected", i): value[None].astype(np.float32) for i, value in enumerate(expected.values())}
    np.savez(golden, **rows)
    manifest = Manifest(
        model="bad",
        version="1",
        recipe="float32",
        tflite_sha256=hashlib.sha256(model).hexdigest(),
        tflite_bytes=len(model),
        inputs=_specs(inputs),
        outputs=_specs(expected),
        golden=Golden(1, 0.1, (0.1,) * (len(expected) - 1)),
    )
    return pack(Bundle(manifest, model, (), golden.getvalue()))


def _key(name: str, position: int) -> str:
    return f"{name}_{position}" if position else name


def _specs(arrays: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, str(value.dtype), value.shape) for name, value in arrays.items())


ROW = np.array([[-1.0, 2.0, 3.0, 4.0]], np.float32)
_X = {"x": ("float32", (1, 4)), "y": ("float32", (1, 4))}


def tiny_float() -> bytes:
    """A model that does no harm: it answers with the positive value of each number."""
    graph = Graph(["x"], ["y"], _X, steps=[("ABS", ["x"], ["y"], None)])
    return bundle_of(tflite(graph), {"x": ROW}, {"y": abs(ROW)})


def logarithm() -> bytes:
    """A model that answers NaN to a negative number."""
    graph = Graph(["x"], ["y"], _X, steps=[("LOG", ["x"], ["y"], None)])
    return bundle_of(tflite(graph), {"x": ROW}, {"y": ROW})


def endless() -> bytes:
    """A model whose loop never ends: its condition looks at a number that its body leaves as it is."""
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 2
    main = Graph(["x"], ["y"], _X, steps=[("WHILE", ["x"], ["y"], loop)])
    return bundle_of(tflite(main, _always(_X["x"]), _same()), {"x": ROW}, {"y": ROW})


def _always(kind: tuple[str, tuple[int, ...]]) -> Graph:
    """A condition that is always true."""
    constants = {"zero": np.zeros((), np.int32), "one": np.ones((), np.int32)}
    tensors = {"x": kind, "more": ("bool", ())}
    return Graph(["x"], ["more"], tensors, constants, [("LESS", ["zero", "one"], ["more"], None)])


def _same() -> Graph:
    return Graph(["x"], ["y"], _X, steps=[("ABS", ["x"], ["y"], None)])


def huge(dimension: int = 300_000) -> bytes:
    """A model that fills dimension * dimension floats, which its file does not say, and takes a corner."""
    constants = {
        "shape": np.array([dimension, dimension], np.int32),
        "value": np.zeros((), np.float32),
        "begin": np.zeros(2, np.int32),
        "size": np.array([1, 4], np.int32),
    }
    tensors = {**_X, "all": ("float32", (_OPEN, _OPEN)), "corner": ("float32", (1, 4))}
    steps = [
        ("FILL", ["shape", "value"], ["all"], None),
        ("SLICE", ["all", "begin", "size"], ["corner"], None),
        ("ADD", ["x", "corner"], ["y"], schema.AddOptionsT()),
    ]
    return bundle_of(tflite(Graph(["x"], ["y"], tensors, constants, steps)), {"x": ROW}, {"y": ROW})


def growing() -> bytes:
    """A model whose loop doubles a tensor in each turn, for ever."""
    loop, joined = schema.WhileOptionsT(), schema.ConcatenationOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 2
    open_row = ("float32", (_OPEN, 4))
    constants = {"begin": np.zeros(2, np.int32), "size": np.array([1, 4], np.int32)}
    main = Graph(
        ["x"],
        ["y"],
        {**_X, "all": open_row},
        constants,
        [("WHILE", ["x"], ["all"], loop), ("SLICE", ["all", "begin", "size"], ["y"], None)],
    )
    body = Graph(
        ["x"], ["y"], {"x": open_row, "y": open_row}, {}, [("CONCATENATION", ["x", "x"], ["y"], joined)]
    )
    return bundle_of(tflite(main, _always(open_row), body), {"x": ROW}, {"y": ROW})


def wide() -> bytes:
    """A model that has, as its file says, a tensor of 400 MiB."""
    wide = ("float32", (100, 1024, 1024))
    constants = {
        "axes": np.array([0, 1], np.int32),
        "shape": np.array(wide[1], np.int32),
        "begin": np.zeros(3, np.int32),
        "size": np.array([1, 1, 4], np.int32),
    }
    tensors = {**_X, "value": ("float32", ()), "wide": wide, "corner": ("float32", (1, 1, 4))}
    steps = [
        ("MEAN", ["x", "axes"], ["value"], None),
        ("FILL", ["shape", "value"], ["wide"], None),
        ("SLICE", ["wide", "begin", "size"], ["corner"], None),
        ("ADD", ["x", "corner"], ["y"], schema.AddOptionsT()),
    ]
    return bundle_of(tflite(Graph(["x"], ["y"], tensors, constants, steps)), {"x": ROW}, {"y": ROW})


def gather() -> bytes:
    """A model that looks up rows of a small table by numbers that are given to it."""
    tensors = {"x": ("int32", (1, 4)), "y": ("float32", (1, 4))}
    table = {"table": np.arange(3, dtype=np.float32)}
    graph = Graph(["x"], ["y"], tensors, table, [("GATHER", ["table", "x"], ["y"], schema.GatherOptionsT())])
    asked = np.array([[0, 1, 2, 9_000_000]], np.int32)
    return bundle_of(tflite(graph), {"x": asked}, {"y": ROW})
