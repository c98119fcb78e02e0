"""The Open Inference Protocol, version 2: requests and responses over HTTP. Pure.

The protocol: https://github.com/kserve/open-inference-protocol, with the binary tensor extension of
Triton (an `Inference-Header-Content-Length` header, then JSON, then the tensors' bytes in order).

Rules:
- a quantized tensor is described with its own integer type. Who sends these integers gets integers
  back; who sends floats instead gets real values back, as FP32;
- strings (BYTES) and BF16 are refused: a TFLite model served here has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from edge.backend import Array, Tensor
from edge.runtime import LoadedModel
from edge.web.arrays import accepts_rows, from_bytes, from_json, narrowed
from edge.web.plan import Plan
from edge.web.question import Question, add_tags, check_all_given, checked_id, checked_rows, find_input, shown
from edge.web.reply import bad_request

EXTENSIONS: Final = ("binary_tensor_data",)

DATATYPES: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8",
    "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip
_DTYPES: Final = {name: np.dtype(code) for name, code in DATATYPES.items()}
_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}

_US: Final = 1e-6


def server_metadata(version: str) -> dict[str, Any]:
    """Return the answer to GET /v2."""
    return {"name": "edgeflock", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(name: str, versions: list[str], model: LoadedModel) -> dict[str, Any]:
    """Return the answer to GET /v2/models/M; the first dimension is -1 where batches are taken."""
    batches = accepts_rows(model.inputs, model.outputs) and not model.stateful
    codes = any(tensor.quantized for tensor in model.inputs)
    return {
        "name": name,
        "versions": versions,
        "platform": "tensorflow_lite",
        "inputs": [_describe(tensor, batches=batches, codes=True) for tensor in model.inputs],
        "outputs": [_describe(tensor, batches=batches, codes=codes) for tensor in model.outputs],
    }


def decode_json(document: Any, plan: Plan) -> Question:
    """Return the question in a parsed request without binary tensors; raise HttpError 400."""
    return decode(document, memoryview(b""), plan)


def decode(document: Any, tail: memoryview, plan: Plan) -> Question:
    """Return the question in a parsed request whose binary tensors are in `tail`; raise HttpError 400."""
    if document.__class__ is not dict:
        raise bad_request("a request is a JSON object")
    given = document.get("inputs")
    if given.__class__ is not list or not given:
        raise bad_request("'inputs' must be a list of tensors")
    batches = plan.batches
    values: dict[str, Array] = {}
    rows, codes, quantized = 0, True, False
    for one in given:
        tensor, array, tail = _decode_input(
            one, tail, plan.inputs, batches=batches, rows_limit=plan.rows_limit
        )
        if tensor.key in values:
            raise bad_request(f"input {tensor.key!r} is given twice")
        if batches and rows and len(array) != rows:
            raise bad_request(f"inputs of {rows} and {len(array)} rows")
        rows = len(array) if batches else 1
        if tensor.quantized:
            quantized = True
            codes = codes and array.dtype == tensor.dtype
        values[tensor.key] = array
    if len(tail):
        raise bad_request(f"{len(tail)} bytes after the last tensor: inputs need a binary_data_size each")
    check_all_given(plan.inputs, values)
    question = Question(values, rows, checked_id(document.get("id")), codes=codes and quantized)
    _read_parameters(document, question)
    _read_outputs(document.get("outputs"), plan.outputs, question)
    return question


def encode(
    name: str, version: str, identity: str, outputs: Mapping[str, Array], question: Question
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the JSON of a response, and what goes after it."""
    tensors: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for key in question.outputs or outputs:
        array = outputs[key]
        tensor: dict[str, Any] = {"name": key, "datatype": _NAMES[array.dtype], "shape": array.shape}
        if key in question.binary or (question.binary_default and not question.outputs):
            blob = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            tensor["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            tensor["data"] = array.ravel()
        tensors.append(tensor)
    return {"model_name": name, "model_version": version, "id": identity, "outputs": tensors}, blobs


def _describe(tensor: Tensor, *, batches: bool, codes: bool) -> dict[str, Any]:
    own = codes or not tensor.quantized
    shape = [-1, *tensor.shape[1:]] if batches else list(tensor.shape)
    described: dict[str, Any] = {
        "name": tensor.key, "datatype": _NAMES[tensor.dtype] if own else "FP32", "shape": shape,
    }  # fmt: skip
    if tensor.quantized and own:
        described["parameters"] = {"scale": tensor.scale, "zero_point": tensor.zero_point}
    return described


def _decode_input(
    given: Any, tail: memoryview, inputs: tuple[Tensor, ...], *, batches: bool, rows_limit: int
) -> tuple[Tensor, Array, memoryview]:
    if given.__class__ is not dict:
        raise bad_request("each of 'inputs' is an object with name, shape, datatype and data")
    tensor = find_input(inputs, given.get("name"))
    dtype = _checked_dtype(given.get("datatype"), tensor)
    shape = _checked_shape(given.get("shape"), tensor, batches=batches, rows_limit=rows_limit)
    size = _parameter(given, "binary_data_size")
    if size is None:
        if "data" not in given:
            raise bad_request(f"input {tensor.key!r} has neither data nor a binary_data_size")
        array = from_json(given["data"], dtype, shape, tensor.key)
    elif "data" in given:
        raise bad_request(f"input {tensor.key!r} has both data and a binary_data_size")
    else:
        if size.__class__ is not int or not 0 <= size <= len(tail):
            raise bad_request(f"input {tensor.key!r}: binary_data_size is not what follows the JSON")
        array, tail = from_bytes(tail[:size], dtype, shape, tensor.key), tail[size:]
    if dtype.kind == "f" and dtype != tensor.dtype:
        array = narrowed(array, tensor.key)
    return tensor, array, tail


def _checked_dtype(name: Any, tensor: Tensor) -> np.dtype[Any]:
    dtype = _DTYPES.get(name) if name.__class__ is str else None
    real = tensor.quantized or tensor.dtype == np.float32
    if dtype is not None and (dtype == tensor.dtype or (real and dtype.kind == "f")):
        return dtype
    takes = _NAMES[tensor.dtype] + (" or FP32" if tensor.quantized else "")
    raise bad_request(f"input {tensor.key!r} takes {takes}, got {shown(name)}")


def _checked_shape(given: Any, tensor: Tensor, *, batches: bool, rows_limit: int) -> tuple[int, ...]:
    if given.__class__ is not list or len(given) > 8 or not all(map(_is_size, given)):
        raise bad_request(f"input {tensor.key!r}: shape must be a list of integers")
    shape = tuple(map(int, given))
    if shape == tensor.shape:
        return shape
    if shape[1:] != tensor.shape[1:] or len(shape) != len(tensor.shape):
        expected = [-1, *tensor.shape[1:]] if batches else list(tensor.shape)
        raise bad_request(f"input {tensor.key!r} has shape {expected}, got {given}"[:300])
    checked_rows(shape[0], rows_limit, batches=batches)
    return shape


def _is_size(size: Any) -> bool:
    """Tell whether a size is a whole number: JSON does not tell 4.0 from 4, nor does the quick path."""
    return size.__class__ in (int, bool) or (size.__class__ is float and size.is_integer())


def _parameter(given: dict[str, Any], name: str) -> Any:
    parameters = given.get("parameters")
    if parameters is None:
        return None
    if parameters.__class__ is not dict:
        raise bad_request("'parameters' must be an object")
    return parameters.get(name)


def _flag(given: dict[str, Any], name: str) -> bool | None:
    value = _parameter(given, name)
    if value is not None and value.__class__ is not bool:
        raise bad_request(f"parameter {name!r} is true or false")
    return bool(value) if value is not None else None


def _read_parameters(document: dict[str, Any], question: Question) -> None:
    if "parameters" not in document:
        return
    question.binary_default = _flag(document, "binary_data_output") or False
    if _parameter(document, "sequence_id"):
        raise bad_request("sequences are not offered: each request is answered by itself")
    tags = _parameter(document, "tags")
    if tags is not None:
        add_tags(question, tags)
    timeout_us = _parameter(document, "timeout")  # Triton's: microseconds
    if timeout_us:
        if timeout_us.__class__ is not int or timeout_us < 0:
            raise bad_request("parameter 'timeout' is a number of microseconds")
        question.timeout_s = min(timeout_us, 10**12) * _US


def _read_outputs(given: Any, outputs: tuple[Tensor, ...], question: Question) -> None:
    if not given:
        return
    if given.__class__ is not list or any(one.__class__ is not dict for one in given):
        raise bad_request("'outputs' must be a list of objects with a name")
    keys = {name: tensor.key for tensor in outputs for name in (tensor.key, tensor.name)}
    wanted, binary = [], set()
    for one in given:
        name = one.get("name")
        key = keys.get(name) if name.__class__ is str else None
        if key is None or key in wanted:
            raise bad_request(f"no output {shown(name)}, or twice: there are {', '.join(sorted(keys))}")
        if _parameter(one, "classification"):
            raise bad_request("the classification extension is not offered: labels are in /v1 and by index")
        if _parameter(one, "shared_memory_region"):
            raise bad_request("shared memory is not offered")
        wanted.append(key)
        flag = _flag(one, "binary_data")
        if question.binary_default if flag is None else flag:
            binary.add(key)
    question.outputs, question.binary = tuple(wanted), frozenset(binary)
