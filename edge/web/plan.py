"""What a request needs to know of a model, worked out once for each model that serves.

A plan belongs to one model object: whoever keeps one looks whether that model still serves before
every use, because it may be swapped between two requests.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from itertools import chain
from math import isfinite, prod
from typing import Any, Final

import numpy as np

from edge.backend import Array
from edge.runtime import LoadedModel, Prediction, Predictions
from edge.scoring import scoring_for
from edge.tensors import OutputReader
from edge.web.arrays import accepts_rows
from edge.web.question import Question, longest_body
from edge.web.shelf import version_of

Answer = Prediction | Predictions

#: Is told of inputs, their answers, the ids of these and their tags, on the event loop.
Observe = Callable[[Any, Answer, str, tuple[str, ...]], None]

#: A body or an answer up to here is nothing to the event loop, nor to memory.
LONG_BYTES: Final = 64 * 1024

#: What a number of an answer takes: as text of 12 bytes with its array, or as arrays and bytes.
_JSON_NUMBER_BYTES: Final = 20
_BINARY_COPIES: Final = 4

#: Up to here one dot product tells whether all numbers are finite.
_SMALL: Final = 4096


class Plan:
    """A model's shapes and names, in the form that decoding and encoding use.

    The methods named `plain` are the short way for the commonest request: one input of floats, one
    row, one output, JSON. They return None for every other one, and for a wrong one: the long way
    says what is wrong.
    """

    def __init__(
        self, name: str, model: LoadedModel, rows_limit: int, observe: Observe | None = None
    ) -> None:
        self._observe = observe
        self.name = name
        self.model = model
        self.rows_limit = rows_limit
        self.release = model.release
        self.version = version_of(model.release)
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.batches = accepts_rows(model.inputs, model.outputs) and not model.stateful
        self.longest_body = longest_body(model.inputs, rows_limit)
        self.labels = model.labels
        self.task = model.manifest.task if model.manifest else "classes"
        self.scoring = scoring_for(model.outputs, model.manifest)
        output = model.outputs[0]
        #: How a release is called in counters: by the name it is served under.
        self.counted = f"{name}/{self.version}"
        self.classes = 2 if self.task == "binary" else max(len(self.labels), *output.shape[-1:], 1)
        self._plain_reply = len(model.outputs) == 1
        self._read = OutputReader(output).read
        self._output_shape = output.shape
        start = {"model_name": name, "model_version": self.version, "id": ""}
        self._reply_start = json.dumps(start, separators=(",", ":"))[:-2].encode()
        found = {"name": output.key, "datatype": "FP32", "shape": output.shape, "data": None}
        found_text = json.dumps(found, separators=(",", ":"))[: -len("null}")]
        self._reply_middle = f'","outputs":[{found_text}'.encode()
        first = model.inputs[0]
        numbers = sum(prod(tensor.shape) for tensor in model.outputs)
        self._plain = (
            numbers * _JSON_NUMBER_BYTES <= LONG_BYTES
            and len(model.inputs) == 1
            and (first.quantized or first.dtype == np.float32)
        )
        self._key = first.key
        self._shape = first.shape
        self._shape_list = list(first.shape)
        self._size = int(np.prod(first.shape))

    def observed(self, inputs: Any, answer: Answer, identity: str, tags: tuple[str, ...] = ()) -> None:
        """Tell who observes the model of an answer."""
        if self._observe is not None:
            self._observe(inputs, answer, identity, tags)

    def served_as(self, release: str) -> str:
        """Return the name and version under which a release is counted: its bundle may have another name."""
        return self.counted if release == self.release else f"{self.name}/{version_of(release)}"

    def reply_bytes(self, question: Question) -> int:
        """Return what the answer to a question takes at most."""
        total = 0
        for tensor in self.outputs:
            binary = question.binary_default and not question.outputs
            each = _BINARY_COPIES * max(tensor.dtype.itemsize, 4)  # codes may leave as floats
            if not binary and tensor.key not in question.binary:
                each = max(each, _JSON_NUMBER_BYTES)
            total += prod(tensor.shape) * each
        return total * question.rows

    def plain_v2(self, document: Any) -> Array | None:
        """Return the input in a V2 request, if it is a plain one."""
        try:
            (one,) = document["inputs"]
            if (
                not self._plain
                or len(document) > 1
                or len(one) != 4  # nothing but these four
                or one["name"] != self._key
                or one["datatype"] != "FP32"
                or one["shape"] != self._shape_list
            ):
                return None
            return self._plain_values(one["data"])
        except (KeyError, TypeError, ValueError):
            return None

    def plain_rows(self, document: Any) -> Array | None:
        """Return the input in a TensorFlow Serving request, if it is one instance without names."""
        try:
            data = document["instances"]
            if not self._plain or not self.batches or len(document) > 1 or len(data) != 1:
                return None
            for size in self._shape[1:]:
                if set(map(len, data)) != {size}:
                    return None
                data = list(chain.from_iterable(data))
            return self._plain_values(data)
        except (KeyError, TypeError, ValueError):
            return None

    def plain_reply(self, answer: Answer, identity: str, dumps: Callable[[Array], bytes]) -> bytes | None:
        """Return the V2 response to a plain question: what inference_v2.encode and `dumps` make of it."""
        if not self._plain_reply or answer.release != self.release:
            return None
        values = self._read(answer.raw[0])
        if values.shape != self._output_shape or values.dtype != np.float32:
            return None
        parts = (self._reply_start, identity.encode(), self._reply_middle, dumps(values.ravel()), b"}]}")
        return b"".join(parts)

    def question(self, values: Array) -> Question:
        """Return the question of a plain request, for the long way."""
        return Question({self._key: values})

    def _plain_values(self, data: Any) -> Array | None:
        if data.__class__ is not list:
            return None
        try:
            numbers = array("f", data)
        except OverflowError:
            return None
        values: Array = np.frombuffer(numbers, np.float32)
        if values.size != self._size or self._size > _SMALL or not isfinite(values.dot(values)):
            return None
        return values.reshape(self._shape)
