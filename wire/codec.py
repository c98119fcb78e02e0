"""Messages to JSON and back, with the standard library alone.

Rules:
- a message is a frozen dataclass; a field's annotation is its whole schema;
- a field that has its default is not written, but for the version `v`: a reader has the same one, and
  most of a manifest or of a report's counters is not in use;
- unknown fields are ignored (a newer peer), missing and mistyped ones are refused;
- NaN and infinities are refused: JSON has none, and one NaN poisons every sum behind it;
- a refusal is a `MessageError`, whatever the payload was.

The device decodes with this file because 32-bit boards have no msgspec wheel; the server decodes
the same dataclasses with msgspec, and one corpus in the tests runs through both.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from wire.errors import MessageError

T = TypeVar("T")
_Check = Callable[[Any], Any]


class _MismatchError(ValueError):
    """Internal: a value that does not fit its annotation; `path` grows on the way up."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.path = path

    def under(self, step: str) -> _MismatchError:
        return _MismatchError(str(self), f"{step}{self.path}")


def encode(message: Any) -> bytes:
    """Encode a message dataclass as compact UTF-8 JSON; raise MessageError for NaN, infinity or half
    of a surrogate pair."""
    try:
        return json.dumps(
            _plain(message), separators=(",", ":"), allow_nan=False, ensure_ascii=False
        ).encode()
    except ValueError as error:
        raise MessageError(type(message).__name__, str(error)) from error


def _plain(value: Any) -> Any:
    """Return a message as what JSON has, without the fields that say what they say by default."""
    if is_dataclass(value):
        kind: Any = type(value)
        given = ((name, getattr(value, name), default) for name, default in _defaults(kind))
        return {name: _plain(said) for name, said, default in given if default is MISSING or said != default}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@cache
def _defaults(kind: Hashable) -> tuple[tuple[str, Any], ...]:
    """Return the fields of a message class, each with its default; MISSING is written in any case."""
    plan = []
    for f in fields(kind):  # type: ignore[arg-type]  # it is a dataclass
        default = f.default if f.default_factory is MISSING else f.default_factory()
        plan.append((f.name, MISSING if f.name == "v" else default))
    return tuple(plan)


def decode(kind: type[T], payload: bytes) -> T:
    """Decode `payload` as a message of dataclass `kind`; raise MessageError and nothing else."""
    try:
        raw = json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant)
        check: _Check = _check_for(kind)  # type: ignore[arg-type]  # a class is hashable
        message: T = check(raw)
        return message
    except _MismatchError as error:
        where = f"{error.path.lstrip('.')}: " if error.path else ""
        raise MessageError(kind.__name__, f"{where}{error}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested past reason
        raise MessageError(kind.__name__, f"not JSON: {error}") from error


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


@cache
def _check_for(annotation: Hashable) -> _Check:
    """Return a function that turns a parsed JSON value into `annotation`, or raises _MismatchError."""
    origin, args = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation):
        return _dataclass_check(annotation)
    if origin in (Union, types.UnionType):
        return _optional_check(args)
    if origin is tuple:
        return _tuple_check(args)
    if origin in (dict, Mapping):
        return _mapping_check(args[1])
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    raise TypeError(f"a message field cannot be annotated {annotation!r}")


def _dataclass_check(kind: Any) -> _Check:
    hints = get_type_hints(kind)
    plan = [(f.name, f, f.default is MISSING and f.default_factory is MISSING) for f in fields(kind)]

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError(f"expected an object, got {_kind_of(value)}")
        given = {}
        for name, _, required in plan:
            if name in value:
                try:
                    given[name] = _check_for(hints[name])(value[name])
                except _MismatchError as error:
                    raise error.under(f".{name}") from None
            elif required:
                raise _MismatchError(f"field {name!r} is missing")
        try:
            return kind(**given)
        except ValueError as error:  # the dataclass's own __post_init__
            raise _MismatchError(str(error)) from error

    return check


def _optional_check(args: tuple[Any, ...]) -> _Check:
    (inner,) = (a for a in args if a is not type(None))
    return lambda value: None if value is None else _check_for(inner)(value)


def _tuple_check(args: tuple[Any, ...]) -> _Check:
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise _MismatchError(f"expected an array, got {_kind_of(value)}")
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise _MismatchError(f"expected {len(args)} items, got {len(value)}")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        out = []
        for i, (kind, item) in enumerate(zip(kinds, value, strict=True)):
            try:
                out.append(_check_for(kind)(item))
            except _MismatchError as error:
                raise error.under(f"[{i}]") from None
        return tuple(out)

    return check


def _mapping_check(inner: Any) -> _Check:
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError(f"expected an object, got {_kind_of(value)}")
        out = {}
        for key, item in value.items():
            try:
                out[_text(key)] = _check_for(inner)(item)
            except _MismatchError as error:
                raise error.under(f".{key}") from None
        return out

    return check


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise _MismatchError(f"expected an integer, got {_kind_of(value)}")
    if not -(2**63) <= value < 2**63:
        raise _MismatchError("integer does not fit 64 bits")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise _MismatchError(f"expected a number, got {_kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _MismatchError("number is out of range")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _MismatchError(f"expected a string, got {_kind_of(value)}")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise _MismatchError("half of a surrogate pair is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _MismatchError(f"expected true or false, got {_kind_of(value)}")
    return value


_SCALARS: dict[Any, _Check] = {int: _integer, float: _number, str: _text, bool: _flag}


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
