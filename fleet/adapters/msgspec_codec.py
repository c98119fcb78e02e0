"""The server's decoder: the same dataclasses as wire/codec.py, by msgspec (3 µs a report against 16)."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from wire.codec import decode as careful_decode
from wire.errors import MessageError

T = TypeVar("T")

#: msgspec lets integers of any size through; SQLite and the device take 64 bits. (A regular expression for 19
#: digits takes 12 µs for a report; this takes 2.)
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode(kind: type[T], payload: bytes) -> T:
    """Decode `payload` as a message of dataclass `kind`; raise MessageError and nothing else."""
    if _LONG_NUMBER in payload.translate(_DIGITS):
        return careful_decode(kind, payload)
    try:
        message: T = _decoder(kind).decode(payload)  # type: ignore[arg-type]  # a class is hashable
        return message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(kind.__name__, str(error)) from error


def encode(value: Any) -> bytes:
    """Encode a message, or a part of one, as compact JSON."""
    return msgspec.json.encode(value)


def parse(data: bytes) -> Any:
    """Return JSON that we wrote ourselves as dicts and lists, unchecked."""
    return msgspec.json.decode(data)


def parse_as(kind: type[T], data: bytes) -> T:
    """Return JSON that we wrote ourselves as a `kind`; a sum may be larger than what a device may say."""
    parsed: T = _decoder(kind).decode(data)  # type: ignore[arg-type]  # a class is hashable
    return parsed
