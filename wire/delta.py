"""Deltas: a bundle as its differences from one that the device holds.

    header      version, digest and size of the base, sizes of the result and of what follows, unpacked
    xz of       the segments (form, offset in the base, bytes), then what each of them needs, in order

A segment is a stretch of the new bundle in one of four forms:

    NEW     its own bytes
    COPY    the base's bytes; nothing travels
    BYTES   the differences of bytes, modulo 256: int8 weights that moved by a few codes
    WORDS   the differences of 32-bit words, the sign in the lowest bit: float32 weights that moved by
            little keep their upper bytes, so those of the differences are zero

wire/alignment.py says which stretch lies over which. A delta is no matter of trust: whoever applies it
compares the result with the digest that was signed. All that is checked here is that it takes no more
memory or disk than was agreed: lengths that lie, and bases that are others, raise TransferError.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from wire.alignment import Form, Segment, align, zigzag
from wire.blob import Told, compress, decompress
from wire.errors import TransferError

_HEADER: Final = struct.Struct("<4s32sIII")
_VERSION: Final = b"EFD1"
_SEGMENT: Final = struct.Struct("<III")
_WORD: Final = 4

#: The table of a delta takes at most 48 KiB; a network of a thousand layers has as many buffers.
MAX_SEGMENTS: Final = 4096
_STEP_BYTES: Final = 64 * 1024
#: One that saves less is not worth its room on the broker and its lines in the targets.
_PAYS_BELOW: Final = 0.7


def pays(delta_bytes: int, whole_bytes: int) -> bool:
    """Return whether a delta is published beside a compressed bundle of `whole_bytes`."""
    return delta_bytes < _PAYS_BELOW * whole_bytes


def encode(base: bytes, new: bytes, told: Told = lambda _done, _total: None) -> bytes:
    """Return the delta that makes `new` of `base`. It may be larger than `new` compressed: compare.

    `told` hears how far its compression is, which takes nearly all of the time.
    """
    segments = align(base, new, MAX_SEGMENTS)
    body = bytearray().join(_SEGMENT.pack(s.form, s.base, s.size) for s in segments)
    start = 0
    for segment in segments:
        if segment.form is Form.WORDS:
            body += bytes(-len(body) % _WORD)  # xz tells the bytes of a word apart by their place
        body += _difference(segment, base, new[start : start + segment.size])
        start += segment.size
    digest = hashlib.sha256(base).digest()
    return _HEADER.pack(_VERSION, digest, len(segments), len(new), len(body)) + compress(bytes(body), told)


def apply(base: BinaryIO, pieces: Iterable[bytes], *, base_sha256: str, size_bytes: int) -> Iterator[bytes]:
    """Yield the pieces of the new bundle of `size_bytes` that the delta in `pieces` makes of `base`.

    Takes the memory of xz and a few pieces, whatever the sizes. `base` is read where it is needed, not
    hashed. Raises TransferError for a delta that is damaged, of another base, or of another size.
    """
    rest = _Stream(iter(pieces))
    version, digest, count, new_bytes, body_bytes = _HEADER.unpack(rest.take(_HEADER.size))
    if version != _VERSION:
        raise TransferError("not a delta of a kind that is known here")
    if digest.hex() != base_sha256:
        raise TransferError("the delta is one of another base")
    if new_bytes != size_bytes or count > MAX_SEGMENTS:
        raise TransferError(f"the delta makes {new_bytes} bytes of {count} segments, not {size_bytes} bytes")
    if body_bytes > size_bytes + count * (_SEGMENT.size + _WORD):
        raise TransferError(f"the delta unpacks to {body_bytes} bytes")
    body = _Stream(decompress(rest.remaining(), size_bytes=body_bytes))
    for segment in _read_segments(body, count, size_bytes):
        yield from _restored(segment, base, body)
    if any(body.remaining()):
        raise TransferError("the delta goes on behind its last segment")


def _read_segments(body: _Stream, count: int, size_bytes: int) -> list[Segment]:
    try:
        segments = [
            Segment(Form(form), base, size)
            for form, base, size in _SEGMENT.iter_unpack(body.take(count * _SEGMENT.size))
        ]
    except ValueError as error:
        raise TransferError(f"the delta has a segment of an unknown form: {error}") from error
    if sum(s.size for s in segments) != size_bytes:
        raise TransferError("the segments of the delta do not make up the bundle")
    if any(s.form is Form.WORDS and s.size % _WORD for s in segments):
        raise TransferError("the delta cuts a word in two")
    return segments


def _restored(segment: Segment, base: BinaryIO, body: _Stream) -> Iterator[bytes]:
    if segment.form is Form.WORDS:
        body.take(-body.taken % _WORD)
    if segment.form is not Form.NEW:
        base.seek(segment.base)
    for start in range(0, segment.size, _STEP_BYTES):
        size = min(_STEP_BYTES, segment.size - start)
        if segment.form is Form.NEW:
            yield body.take(size)
            continue
        old = base.read(size)
        if len(old) != size:
            raise TransferError("the delta reaches behind the end of its base")
        match segment.form:
            case Form.COPY:
                yield old
            case Form.BYTES:
                yield (_bytes(old) + _bytes(body.take(size))).tobytes()
            case Form.WORDS:
                moved = _words(body.take(size))
                yield (_words(old) + ((moved >> 1) ^ -(moved & 1))).tobytes()


def _difference(segment: Segment, base: bytes, new: bytes) -> bytes:
    old = base[segment.base : segment.base + segment.size]
    match segment.form:
        case Form.NEW:
            return new
        case Form.COPY:
            return b""
        case Form.BYTES:
            return (_bytes(new) - _bytes(old)).tobytes()
        case Form.WORDS:
            return zigzag(new, old).tobytes()


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _words(data: bytes) -> npt.NDArray[np.uint32]:
    return np.frombuffer(data, "<u4")


class _Stream:
    """Takes as many bytes at a time as are wanted from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")
        self.taken = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes; raise TransferError when there are less."""
        parts, missing = [], size
        while missing:
            if not self._held:
                piece = next(self._pieces, None)
                if piece is None:
                    raise TransferError(f"the delta ends {missing} bytes too early")
                self._held = memoryview(piece)
            parts.append(self._held[:missing])
            self._held = self._held[len(parts[-1]) :]
            missing -= len(parts[-1])
        self.taken += size
        return b"".join(parts)

    def remaining(self) -> Iterator[bytes]:
        """Yield what was not taken."""
        yield bytes(self._held)
        yield from self._pieces
