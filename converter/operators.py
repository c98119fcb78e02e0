"""Which version of an operator a form of it needs, and which runtime is the first that knows it. Pure.

A runtime refuses a version that it does not know. A version that is too low it runs, and answers
garbage: dense layers with a scale for each channel did so in dynamic int8 on tflite-runtime 2.14 (8 %
of the answers right), and in static int8 on 2.9.1 (10 %).

The numbers are TensorFlow's (`op_version.cc` and `runtime_version.cc` of 2.21), but for these:
- FULLY_CONNECTED with integer activations and weights per channel: 10, the first version that 2.9.1
  does not know. TensorFlow writes 4. Measured, version 10 needs 2.13, not 2.11 as its table has it;
- FULLY_CONNECTED with weights in blocks: 14. 2.13 and 2.14 answer garbage or end, and no version
  between tells a runtime that knows blocks;
- 16-bit activations with 8-bit weights: the versions of 16-bit activations. TensorFlow writes those of 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from converter.graph import Tensor


@dataclass(frozen=True)
class Operator:
    """One kind of operator in a model: its TFLite name, its version, and how often it occurs."""

    name: str
    version: int
    count: int


#: Operators without weights: the versions that integer activations of 8 and of 16 bits need.
_BY_BITS: Final[Mapping[str, tuple[int, int]]] = {
    "ADD": (2, 3),
    "AVERAGE_POOL_2D": (2, 3),
    "BATCH_MATMUL": (2, 3),
    "BROADCAST_TO": (3, 3),
    "CONCATENATION": (2, 3),
    "DYNAMIC_UPDATE_SLICE": (1, 4),
    "EQUAL": (2, 5),
    "GATHER": (2, 4),
    "GATHER_ND": (1, 3),
    "GELU": (2, 2),
    "LOGISTIC": (2, 3),
    "MAXIMUM": (2, 4),
    "MAX_POOL_2D": (2, 3),
    "MEAN": (2, 3),
    "MIRROR_PAD": (2, 3),
    "MUL": (2, 4),
    "NOT_EQUAL": (2, 4),
    "PACK": (2, 3),
    "PAD": (2, 3),
    "PADV2": (2, 3),
    "QUANTIZE": (1, 2),
    "REDUCE_MIN": (2, 3),
    "RELU": (2, 3),
    "RESIZE_BILINEAR": (2, 4),
    "RESIZE_NEAREST_NEIGHBOR": (2, 4),
    "RSQRT": (2, 3),
    "SLICE": (2, 4),
    "SOFTMAX": (2, 3),
    "SPACE_TO_DEPTH": (2, 2),
    "SPLIT": (2, 4),
    "SQRT": (2, 2),
    "SQUARED_DIFFERENCE": (2, 2),
    "STRIDED_SLICE": (2, 4),
    "SUB": (2, 5),
    "SUM": (2, 2),
    "TANH": (2, 3),
    "TRANSPOSE": (2, 5),
    "UNPACK": (2, 4),
}


@dataclass(frozen=True)
class _Weighted:
    """The versions of an operator with 8-bit weights: with activations of 8 bits, of 16, of floats."""

    int8: int
    int16: int
    hybrid: int
    hybrid_per_channel: int
    int4: int


_WEIGHTED: Final[Mapping[str, _Weighted]] = {
    "CONV_2D": _Weighted(3, 4, 2, 5, 7),
    "DEPTHWISE_CONV_2D": _Weighted(3, 5, 4, 6, 7),
    "FULLY_CONNECTED": _Weighted(4, 7, 3, 12, 12),
    "TRANSPOSE_CONV": _Weighted(2, 3, 3, 3, 3),
    "EMBEDDING_LOOKUP": _Weighted(4, 4, 1, 4, 4),
}
_DENSE_PER_CHANNEL: Final = 10
_DENSE_IN_BLOCKS: Final = 14

#: The first runtime (TensorFlow's number) that knows each version, from version 1 on.
_RUNTIMES: Final[Mapping[str, str]] = {
    "ADD": "1.5 1.14 2.4 2.6 2.13 2.23",
    "AVERAGE_POOL_2D": "1.5 1.14 2.3",
    "BATCH_MATMUL": "2.3 2.3 2.4 2.5",
    "BROADCAST_TO": "2.5 2.5 2.5",
    "CONCATENATION": "1.5 1.14 2.3 2.14 2.21",
    "CONV_2D": "1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15",
    "DEPTHWISE_CONV_2D": "1.5 1.12 1.14 2.2 2.3 2.3 2.11",
    "DEQUANTIZE": "1.13.1 1.14 1.15 2.2 2.7 2.18 2.21 2.22",
    "DYNAMIC_UPDATE_SLICE": "2.9 2.17 2.19 2.20 2.21 2.22",
    "EMBEDDING_LOOKUP": "1.13 1.14 1.14 2.18 2.21",
    "EQUAL": "1.14 1.14 2.3 2.13 2.21",
    "FULLY_CONNECTED": "1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.13 2.15 2.17 2.18 2.21",
    "GATHER": "1.6 1.14 1.15 2.4 2.5 2.13 2.15",
    "GATHER_ND": "1.14 2.3 2.5 2.13 2.16",
    "GELU": "2.9 2.9",
    "LOGISTIC": "1.14 1.14 2.3",
    "MAXIMUM": "1.14 1.14 2.3 2.3",
    "MAX_POOL_2D": "1.5 1.14 2.3",
    "MEAN": "1.6 1.14 2.4",
    "MIRROR_PAD": "1.13.1 2.3 2.12",
    "MUL": "1.5 1.14 1.15 2.3 2.6 2.11 2.13 2.23",
    "NOT_EQUAL": "1.14 1.14 2.3 2.21",
    "PACK": "1.11 1.14 2.3 2.13",
    "PAD": "1.5 1.14 2.4 2.6 2.20",
    "PADV2": "1.9 1.14 2.4 2.6 2.20",
    "QUANTIZE": "1.14 1.15 2.7 2.21 2.21 2.21",
    "REDUCE_MIN": "1.11 1.14 2.5",
    "RELU": "1.5 2.1 2.5",
    "RESIZE_BILINEAR": "1.7 1.14 2.2 2.5",
    "RESIZE_NEAREST_NEIGHBOR": "1.13.1 1.14 2.3 2.4",
    "RSQRT": "1.10 2.5 2.15",
    "SLICE": "1.14 1.14 1.14 2.4 2.5 2.14 2.21",
    "SOFTMAX": "1.5 1.14 2.3",
    "SPACE_TO_DEPTH": "1.5 1.14",
    "SPLIT": "1.5 1.14 1.14 2.3",
    "SQRT": "1.10 2.21",
    "SQUARED_DIFFERENCE": "1.13.1 2.5",
    "STRIDED_SLICE": "1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14",
    "SUB": "1.6 1.14 2.3 2.4 2.4",
    "SUM": "1.10 1.15",
    "TANH": "1.14 1.14 2.3",
    "TRANSPOSE": "1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 2.22",
    "TRANSPOSE_CONV": "1.9 2.2 2.3 2.13 2.15",
    "UNPACK": "1.11 1.14 2.2 2.3 2.22",
}


def needed_version(operator: str, takes: Sequence[Tensor], gives: Sequence[Tensor]) -> int:
    """Return the version that the types of the tensors need; 1 for what no quantizing here brings about.

    Options that need a version of their own have it from the converter already.
    """
    tensors = [*takes, *gives]
    if operator == "DEQUANTIZE":
        return _dequantize(takes[0])
    if operator in _WEIGHTED:
        return _with_weights(operator, takes, gives)
    if operator == "BATCH_MATMUL" and gives[0].dtype == "float32":
        return 1
    eight, sixteen = _BY_BITS.get(operator, (1, 1))
    if any(tensor.dtype == "int16" and tensor.quantized for tensor in tensors):
        return sixteen
    return eight if any(tensor.dtype == "int8" and tensor.quantized for tensor in tensors) else 1


def first_runtime(operator: str, version: int) -> str:
    """Return the first runtime that knows the version, "2.17.0"; "" for an operator not listed here."""
    known = _RUNTIMES.get(operator, "").split()
    if version > len(known):
        return ""
    first = known[version - 1]
    return first if first.count(".") == 2 else f"{first}.0"


def later(one: str, other: str) -> str:
    """Return the later of two runtime versions; "" is earlier than any."""
    return max(
        one, other, key=lambda version: tuple(int(part) for part in version.split(".") if part.isdigit())
    )


def _dequantize(tensor: Tensor) -> int:
    if tensor.dtype == "int4":
        return 6
    if tensor.dtype in ("int16", "float16"):
        return 3
    return {"int8": 5 if len(tensor.scales) > 1 else 2}.get(tensor.dtype, 1)


def _with_weights(operator: str, takes: Sequence[Tensor], gives: Sequence[Tensor]) -> int:
    weights, versions = takes[1], _WEIGHTED[operator]
    if not weights.quantized:
        return 1
    dense, per_channel = operator == "FULLY_CONNECTED", len(weights.scales) > 1
    if weights.blocks:
        return _DENSE_IN_BLOCKS if dense else versions.int4
    if weights.dtype == "int4":
        return versions.int4
    if gives[0].dtype == "float32":
        return versions.hybrid_per_channel if per_channel else versions.hybrid
    plain = versions.int16 if gives[0].dtype == "int16" else versions.int8
    return max(plain, _DENSE_PER_CHANNEL) if dense and per_channel else plain
