"""From bytes to a sample: lines of JSON and raw npy arrays. Pure.

A sample as JSON is `{"id": "17", "input": [[…]], "truth": 3, "tags": ["light=dark"]}`; `id`, `truth` and
`tags` are optional, `truth` is a class or, for a model of values, the right number, and `input` may be an
object of arrays by name for a model of several inputs. Everything here may come from a stranger: whatever it
holds, the outcome is a sample or a DataError of one line.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edge.backend import Tensor
from edge.results import Sample
from edge.tags import checked_tags
from edge.tensors import as_taken
from wire.errors import DataError, InputError

_MAX_CLASS: Final = 2**31

_BAD_JSON: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def parse_json(text: str | bytes, name: str, default_id: str) -> Sample:
    """Read one sample; raise DataError, with `name` saying where it stood, when it is none."""
    try:
        raw = json.loads(text)
        known, value = _truth(raw.get("truth"))
        given = str(raw.get("id", default_id)).encode(errors="replace").decode()
        return Sample(given, _arrays(raw["input"]), known, tags=_tags(raw.get("tags", [])), value=value)
    except _BAD_JSON as error:
        raise DataError(f"{name} is no sample: {_reason(error)}") from error


def check_finite(inputs: Any, tensors: Sequence[Tensor]) -> None:
    """Raise InputError when a number of a sample is not finite, or is not as the model takes it.

    For the commands, whose answer to such an input is worth nothing; `predict` itself takes it, since a
    model may have been trained with NaN for what is missing.
    """
    for name, value in inputs.items() if isinstance(inputs, Mapping) else (("", inputs),):
        array = np.asarray(value)
        if array.dtype.kind == "O":  # whole numbers of more than 64 bits, or no numbers: predict says which
            try:
                array = array.astype(np.float64)
            except (ValueError, TypeError, OverflowError):
                continue
        tensor = next((one for one in tensors if name in (one.key, one.name)), tensors[0])
        if array.dtype.kind == "f" and not np.isfinite(as_taken(array, tensor)).all():
            raise InputError("it holds NaN, infinity or a number too large for the model")


def _truth(said: Any) -> tuple[int | None, float | None]:
    """Return the class and the value that a truth may be: both for a whole number, none for nothing."""
    if said is None:
        return None, None
    value = float(said)
    if not math.isfinite(value):
        raise ValueError(f"truth {said}")
    return int(value) if value.is_integer() and 0 <= value < _MAX_CLASS else None, value


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("tags must be a list")
    return checked_tags(value)


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): np.asarray(part) for name, part in value.items()}
    return np.asarray(value)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, AttributeError):
        return "not a JSON object"
    return " ".join(str(error).split())[:200] or type(error).__name__


def parse_npy(data: bytes, name: str) -> NDArray[Any]:
    """Read a .npy file held in memory; raise DataError, with `name`, when it is none.

    The header is believed only when it describes exactly the bytes that follow: numpy itself
    allocates first what a header claims.
    """
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)  # type: ignore[no-untyped-call]  # numpy leaves this module untyped
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read(file)  # type: ignore[no-untyped-call]  # as above
        rest = len(data) - file.tell()
        if dtype.hasobject or dtype.itemsize * math.prod(shape) != rest:
            raise ValueError(f"{rest} bytes are no {list(shape)} of {dtype}")
        array = np.frombuffer(data, dtype, offset=file.tell())
        return array.reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, EOFError, TypeError, SyntaxError, MemoryError, OverflowError) as error:
        raise DataError(f"{name} is no npy file: {_reason(error)}") from error
