"""A real .tflite of one operator, built in a millisecond: a RELU of four int8 numbers."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def tiny_tflite(scale: float = 0.5, zero_point: int = -3, width: int = 4) -> bytes:
    """Return the model; its input is `x`, its output `y`, both [1, width] with this quantization.

    A scale of 0 makes it one of float32.
    """
    graph = schema.SubGraphT()
    graph.name, graph.inputs, graph.outputs = "main", [0], [1]
    graph.tensors = [_tensor(name, scale, zero_point, width) for name in ("x", "y")]
    call = schema.OperatorT()
    call.opcodeIndex, call.inputs, call.outputs = 0, [0], [1]
    graph.operators = [call]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 2
    model = schema.ModelT()
    model.version, model.description = 3, "tiny"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, scale: float, zero_point: int, width: int) -> schema.TensorT:
    tensor = schema.TensorT()
    kind = schema.TensorType.INT8 if scale else schema.TensorType.FLOAT32
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, width], kind, 0
    if not scale:
        return tensor
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
    return tensor
