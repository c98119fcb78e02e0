"""The input of an answer as a sample carries it: base64 of the raw tensors, where the settings say so."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

from edge.backend import Tensor
from edge.scored import Scored
from edge.tensors import InputWriter, part_of
from wire.errors import InputError

#: Returns the input tensors of a release; None where it is not loaded any more.
TensorsOf = Callable[[str], tuple[Tensor, ...] | None]


class SampledInputs:
    """Encodes inputs: the bytes of each tensor in the model's own dtype, one after the other, in its order.

    One of more than `most_bytes` is not sent.
    """

    def __init__(self, tensors_of: TensorsOf, most_bytes: int) -> None:
        self._tensors_of = tensors_of
        self._most_bytes = most_bytes

    def __call__(self, one: Scored) -> str | None:
        tensors = self._tensors_of(one.result.prediction.release)
        size = sum(int(np.prod(tensor.shape)) * tensor.dtype.itemsize for tensor in tensors or ())
        if tensors is None or not 0 < size <= self._most_bytes:
            return None
        try:
            return base64.b64encode(b"".join(_parts(one.result.sample.inputs, tensors))).decode()
        except InputError:  # another model serves by now, under the same name
            return None


def _parts(inputs: Any, tensors: tuple[Tensor, ...]) -> list[bytes]:
    parts = []
    for position, tensor in enumerate(tensors):
        memory = np.empty(tensor.shape, tensor.dtype)
        InputWriter(tensor, memory).write(part_of(inputs, position, tensors))
        parts.append(memory.tobytes())
    return parts
