"""A request to infer, whatever protocol it came in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from edge.backend import Array, Tensor
from edge.tags import checked_tags, parse_tags
from edge.web.reply import bad_request

#: What a client may call a request: it goes back in a header, and is kept for the feedback.
_ID: Final = re.compile(r"[\x20-\x7e]{1,128}")

#: Longest number that `repr` gives for a float64, with a comma and a bracket.
_NUMBER_BYTES: Final = 26

#: What an error calls a value that it does not repeat.
_NAMES: Final = {list: "a list", dict: "an object", type(None): "null"}

#: Names, shapes, parameters: everything in a body but the numbers.
ENVELOPE_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Question:
    """What a client asks of a model.

    `values` are arrays by the inputs' keys, of the model's own shapes; with `rows` of several, the
    first dimension is their number instead of one. `codes` says that quantized outputs are wanted as
    the integers they are. `outputs` names those that are wanted (none: all), and `binary` those of
    them that go after the JSON (`binary_default`: those that are not named here as well). `columns` asks
    for TensorFlow Serving's column form. Under `tags` its answers are counted apart.
    """

    values: dict[str, Array]
    rows: int = 1
    id: str = ""
    signature: str | None = None
    codes: bool = False
    timeout_s: float | None = None
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = field(default_factory=frozenset)
    binary_default: bool = False
    columns: bool = False
    tags: tuple[str, ...] = ()


def checked_id(value: Any) -> str:
    """Return a request's id, empty for none; raise HttpError 400 for one that cannot be used."""
    if value is None or value == "":
        return ""
    if value.__class__ is not str or not _ID.fullmatch(value):
        raise bad_request("id: up to 128 printable ASCII characters")
    return str(value)


def add_tags(question: Question, given: Any) -> None:
    """Take note of tags, as text or as a list; raise HttpError 400 for what cannot be."""
    try:
        more = parse_tags(given) if given.__class__ is str else checked_tags(given)
        question.tags = checked_tags((*question.tags, *more))
    except (TypeError, ValueError) as error:
        raise bad_request(f'tags such as "site=lab,shift=night": {error}') from error


def find_input(inputs: tuple[Tensor, ...], name: Any) -> Tensor:
    """Return the input that a request calls `name`; raise HttpError 400."""
    for tensor in inputs:
        if name in (tensor.key, tensor.name):
            return tensor
    known = ", ".join(repr(tensor.key) for tensor in inputs)
    raise bad_request(f"no input {shown(name)}, the model takes {known}")


def check_all_given(inputs: tuple[Tensor, ...], values: dict[str, Array]) -> None:
    """Raise HttpError 400 if an input is missing."""
    if len(values) != len(inputs):
        missing = ", ".join(repr(t.key) for t in inputs if t.key not in values)
        raise bad_request(f"input {missing} is missing")


def checked_rows(rows: int, limit: int, *, batches: bool) -> int:
    """Return the number of rows of a request; raise HttpError 400 when they are too many or none."""
    if rows < 1:
        raise bad_request("no rows: the first dimension is their number")
    if rows > 1 and not batches:
        raise bad_request(f"{rows} rows: the model takes one at a time")
    if rows > limit:
        raise bad_request(f"{rows} rows: at most {limit} are taken at a time")
    return rows


def longest_body(inputs: tuple[Tensor, ...], rows: int) -> int:
    """Return how many bytes a request with `rows` rows could need at most."""
    numbers = sum(prod(tensor.shape) for tensor in inputs)
    return ENVELOPE_BYTES + numbers * rows * _NUMBER_BYTES


def parsed_bytes(text: bytes | bytearray, length: int) -> int:
    """Return how much memory the first `length` bytes of JSON take at most while they are parsed.

    `[],` is three bytes, and becomes a list of 56, a reference of 8, and 16 to 24 of orjson's own. The
    result is 1.1 (rows of three floats) to 2.5 times (small integers) what was measured, and 5 times for
    empty strings.
    """

    def count(mark: bytes) -> int:
        return text.count(mark, 0, length)

    values = count(b",") + count(b":")
    return 4 * length + 56 * values + 72 * (count(b"[") + count(b"{")) + 32 * count(b'"')


def shown(value: Any) -> str:
    """Return what an error may say of a value: a list may be nested deeper than can be written."""
    if value.__class__ is str:
        return repr(value[:100])
    return _NAMES.get(value.__class__) or str(value)[:100]
