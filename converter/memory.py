"""How much memory a model takes at the least, from its graph alone. Pure.

A device reads it before the first byte of a download, and refuses what cannot fit. A wrong refusal
costs the model, so it is a lower bound: the file with its weights, and the activations that must be
there at one moment. An operator may write over an input that nobody needs after it (as a planner lets
ReLU or a reshape do), so at a call the larger of the two counts. What an interpreter takes besides
(packed weights, padding, scratch) differs from one to the next; the trial on the device measures it.

It is computed and not measured so that the same source makes the same bundle, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from converter.graph import Graph, Tensor

#: Of the dtypes that do not take 32.
_BITS = {"float64": 64, "int64": 64, "uint64": 64, "complex64": 64, "float16": 16, "bfloat16": 16,
         "int16": 16, "uint16": 16, "int8": 8, "uint8": 8, "bool": 8, "int4": 4, "int2": 2}  # fmt: skip


def least_bytes(graphs: Iterable[Graph], tflite_bytes: int) -> int:
    """Return the bytes that a model of `tflite_bytes` with these graphs takes at the least.

    Of a loop's body and of the graph around it, the larger counts.
    """
    return tflite_bytes + max((_activations(graph) for graph in graphs), default=0)


def _activations(graph: Graph) -> int:
    """Return the most bytes of activations that are needed at one moment."""
    last = {p: len(graph.calls) for p in graph.outputs}  # these are read when all is done
    for number, call in enumerate(graph.calls):
        last |= {p: max(number, last.get(p, 0)) for p in call.takes if p >= 0}
    alive = {p for p in graph.inputs if not graph.tensors[p].constant}
    most = _size(graph, alive)
    for number, call in enumerate(graph.calls):
        ends = {p for p in call.takes if p in alive and last[p] <= number}
        made = {p for p in call.gives if p >= 0 and not graph.tensors[p].constant}
        stays = alive - ends
        most = max(most, _size(graph, stays) + max(_size(graph, ends), _size(graph, made)))
        alive = stays | {p for p in made if last.get(p, -1) > number}
    return most


def _size(graph: Graph, positions: Iterable[int]) -> int:
    return sum(_bytes(graph.tensors[position]) for position in positions)


def _bytes(tensor: Tensor) -> int:
    """Return what a tensor takes; a size that only a call tells counts as 1."""
    return -(-_BITS.get(tensor.dtype, 32) * prod(max(1, size) for size in tensor.shape) // 8)
