"""TensorFlow Serving's REST interface: predict, status and metadata. Pure.

The interface: https://www.tensorflow.org/tfx/serving/api_rest

Rules:
- `instances` is the row form (a list of inputs, answered by `predictions`), `inputs` the column form
  (tensors with their batch dimension, answered by `outputs`); one of them, never both;
- numbers are real values, in and out: a quantized model is fed and read as floats;
- base64 strings are refused: they are for string tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from edge.backend import Array, Tensor
from edge.runtime import LoadedModel
from edge.web.arrays import accepts_rows, flatten, from_json
from edge.web.plan import Plan
from edge.web.question import Question, check_all_given, checked_rows, find_input
from edge.web.reply import bad_request

DEFAULT_SIGNATURE: Final = "serving_default"

_TYPES: Final = {
    "f2": "DT_HALF", "f4": "DT_FLOAT", "f8": "DT_DOUBLE", "b1": "DT_BOOL", "i1": "DT_INT8", "u1": "DT_UINT8",
    "i2": "DT_INT16", "u2": "DT_UINT16", "i4": "DT_INT32", "u4": "DT_UINT32", "i8": "DT_INT64",
    "u8": "DT_UINT64",
}  # fmt: skip


def status(versions: list[tuple[str, bool]]) -> dict[str, Any]:
    """Return the answer to GET /v1/models/M for (version, ready) pairs."""
    return {
        "model_version_status": [
            {
                "version": version,
                "state": "AVAILABLE" if ready else "LOADING",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for version, ready in versions
        ]
    }


def metadata(name: str, version: str, model: LoadedModel) -> dict[str, Any]:
    """Return the answer to GET /v1/models/M/metadata."""
    batches = accepts_rows(model.inputs, model.outputs) and not model.stateful
    signature = {
        "inputs": {tensor.key: _describe(tensor, batches=batches) for tensor in model.inputs},
        "outputs": {tensor.key: _describe(tensor, batches=batches) for tensor in model.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {DEFAULT_SIGNATURE: signature}}},
    }


def decode(document: Any, plan: Plan) -> Question:
    """Return the question in a parsed predict request; raise HttpError 400."""
    if document.__class__ is not dict:
        raise bad_request("a request is a JSON object")
    if ("instances" in document) == ("inputs" in document):
        raise bad_request("give 'instances' (rows) or 'inputs' (columns), and not both")
    signature = document.get("signature_name")
    if signature and signature != DEFAULT_SIGNATURE:
        return _decode_for_signature(document, signature)
    if "instances" in document:
        return _decode_rows(document["instances"], plan.inputs, plan.rows_limit, batches=plan.batches)
    return _decode_columns(document["inputs"], plan.inputs, plan.rows_limit, batches=plan.batches)


def encode(outputs: Mapping[str, Array], question: Question, *, batches: bool) -> dict[str, Any]:
    """Return the answer to a predict request: values without names where there is one output."""
    if question.columns:
        return {"outputs": next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)}
    if not batches:  # the outputs have no dimension for rows: the one instance gets all of them
        return {"predictions": [next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)]}
    if len(outputs) == 1:
        return {"predictions": next(iter(outputs.values()))}
    rows = [{name: array[row] for name, array in outputs.items()} for row in range(question.rows)]
    return {"predictions": rows}


def _describe(tensor: Tensor, *, batches: bool) -> dict[str, Any]:
    sizes = (-1, *tensor.shape[1:]) if batches else tensor.shape
    dtype = np.dtype(np.float32) if tensor.quantized else tensor.dtype
    return {
        "dtype": _TYPES[dtype.str[1:]],
        "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": False},
        "name": tensor.name,
    }


def _decode_rows(given: Any, inputs: tuple[Tensor, ...], limit: int, *, batches: bool) -> Question:
    if given.__class__ is not list:
        raise bad_request("'instances' must be a list")
    rows = checked_rows(len(given), limit, batches=batches)
    if given[0].__class__ is dict and not (len(inputs) == 1 and "b64" in given[0]):
        columns = _by_name(given, inputs)
    elif len(inputs) == 1:
        columns = {inputs[0].key: given}
    else:
        raise bad_request("the model takes several inputs: each instance is an object with their names")
    values = {t.key: _values(columns[t.key], t, rows, batches=batches) for t in inputs}
    return Question(values, rows)


def _by_name(given: list[Any], inputs: tuple[Tensor, ...]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {tensor.key: [] for tensor in inputs}
    for instance in given:
        if instance.__class__ is not dict or len(instance) != len(inputs):
            raise bad_request(f"each instance is an object with {', '.join(repr(t.key) for t in inputs)}")
        for name, value in instance.items():
            columns[find_input(inputs, name).key].append(value)
    if any(len(column) != len(given) for column in columns.values()):
        raise bad_request("an instance names an input twice")
    return columns


def _decode_columns(given: Any, inputs: tuple[Tensor, ...], limit: int, *, batches: bool) -> Question:
    if given.__class__ is dict and "b64" not in given:
        columns = {find_input(inputs, name).key: data for name, data in given.items()}
    elif len(inputs) == 1:
        columns = {inputs[0].key: given}
    else:
        raise bad_request("the model takes several inputs: 'inputs' is an object with their names")
    check_all_given(inputs, columns)
    if not batches:
        values = {t.key: _values([columns[t.key]], t, 1, batches=False) for t in inputs}
        return Question(values, columns=True)
    counts = {len(data) if data.__class__ is list else 0 for data in columns.values()}
    if len(counts) != 1:
        raise bad_request("inputs have different numbers of rows")
    rows = checked_rows(counts.pop(), limit, batches=True)
    values = {t.key: _values(columns[t.key], t, rows, batches=True) for t in inputs}
    return Question(values, rows, columns=True)


def _decode_for_signature(document: dict[str, Any], signature: Any) -> Question:
    """Return a question for another function of the file, which checks names and shapes itself."""
    if signature.__class__ is not str:
        raise bad_request("signature_name must be a string")
    given = document["inputs"] if "inputs" in document else document["instances"]
    if "inputs" not in document and given.__class__ is list and len(given) == 1:
        given = given[0]
    if given.__class__ is not dict:
        raise bad_request(f"signature {signature[:100]!r} takes one row: an object with the inputs' names")
    values = {}
    for name, data in given.items():
        _, shape = flatten(data, name)
        values[name] = from_json(data, np.dtype(np.float32), shape, name)
    return Question(values, signature=signature, columns="inputs" in document)


def _values(data: list[Any], tensor: Tensor, rows: int, *, batches: bool) -> Array:
    """Return rows as an array of the tensor's shape, their number first where there may be several."""
    dtype = np.dtype(np.float32) if tensor.quantized else tensor.dtype
    if not batches:  # the list holds the one whole tensor
        _, found = flatten(data[0], tensor.key)
        return _checked(data[0], dtype, tensor.shape, found, tensor.key)
    flat, found = flatten(data, tensor.key)
    return _checked(flat, dtype, (rows, *tensor.shape[1:]), found, tensor.key)


def _checked(
    data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], found: tuple[int, ...], name: str
) -> Array:
    if found != shape:
        raise bad_request(f"input {name!r}: shape {list(found)}, expected {list(shape)}")
    return from_json(data, dtype, shape, name)
