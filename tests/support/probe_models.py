"""The doctor's probe models, made with the schema of the format: y = 2x + 1 in one FULLY_CONNECTED."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_SIZE = 8
_STEP, _WEIGHT_STEP, _ANSWER_STEP = 1 / 16, 1 / 32, 1 / 8


def make_probe(kind: str) -> bytes:
    """Return the .tflite of `kind`, "float" or "int8"."""
    int8 = kind == "int8"
    types = schema.TensorType
    real, wide = (types.INT8, types.INT32) if int8 else (types.FLOAT32, types.FLOAT32)
    graph = schema.SubGraphT()
    graph.name, graph.inputs, graph.outputs = "main", [0], [3]
    graph.tensors = [
        _tensor("x", [1, _SIZE], real, 0, _STEP if int8 else None),
        _tensor("w", [_SIZE, _SIZE], real, 1, _WEIGHT_STEP if int8 else None),
        _tensor("b", [_SIZE], wide, 2, _STEP * _WEIGHT_STEP if int8 else None),
        _tensor("y", [1, _SIZE], real, 0, _ANSWER_STEP if int8 else None),
    ]
    call = schema.OperatorT()
    call.opcodeIndex, call.inputs, call.outputs = 0, [0, 1, 2], [3]
    call.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    call.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [call]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if int8 else 1
    weights, bias = np.eye(_SIZE) * 2, np.ones(_SIZE)
    model = schema.ModelT()
    model.version, model.description = 3, "probe"
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [
        schema.BufferT(),
        _buffer((weights / _WEIGHT_STEP).astype(np.int8) if int8 else weights.astype(np.float32)),
        _buffer((bias / _STEP / _WEIGHT_STEP).astype(np.int32) if int8 else bias.astype(np.float32)),
    ]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: list[int], kind: int, buffer: int, step: float | None) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    if step is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([step], np.float32)
        tensor.quantization.zeroPoint = np.array([0], np.int64)
    return tensor


def _buffer(values: np.ndarray) -> schema.BufferT:  # type: ignore[type-arg]  # any dtype
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer
