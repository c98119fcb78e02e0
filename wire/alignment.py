"""Which stretch of a new bundle lies over which of an old one, and in which form it travels best.

Two releases of one network have the same buffers in the same order, whatever lies between them, so the
buffers of the two files are matched by their sizes; the gaps between matched ones lie over each other from
their start on. The zip behind the model is packed already: equal stretches of it are copied, the rest
travels as it is. Each stretch takes the form whose bytes vary least, which is a guess at what xz makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import IntEnum
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wire.buffers import buffers
from wire.bundle import inspect
from wire.errors import BundleError
from wire.software import is_software

#: Smaller buffers (biases of a narrow layer) are worth no anchor.
_SMALLEST_BUFFER: Final = 64
#: Of two zips, stretches that hold a block of so many bytes in common are found.
_BLOCK_BYTES: Final = 32
#: A longer zip is not searched: one position takes 0.3 us.
_LONGEST_SEARCH: Final = 16 * 1024 * 1024
#: What another line in the table of segments takes on the wire, roughly.
_SEGMENT_BITS: Final = 8 * 8
_COUNTED_AT_A_TIME: Final = 1 << 20
_WORD: Final = 4


class Form(IntEnum):
    """What a segment travels as (wire/delta.py)."""

    NEW = 0
    COPY = 1
    BYTES = 2
    WORDS = 3


@dataclass(frozen=True)
class Segment:
    """The next `size` bytes of the new bundle, over those at `base` of the old one."""

    form: Form
    base: int
    size: int


def align(base: bytes, new: bytes, most: int) -> list[Segment]:
    """Return at most `most` segments that cover `new`, in order."""
    ends = _model_bytes(base), _model_bytes(new)
    segments = _Segments(base, new)
    for at, size in _model_stretches(base[: ends[0]], new[: ends[1]]):
        segments.add(at, size)
    for at, size in _zip_stretches(base, new, *ends):
        segments.add(at, size)
    if len(segments.found) <= most:
        return segments.found
    simple = _Segments(base, new)
    simple.add(0, min(ends))
    simple.add(None, len(new) - min(ends))
    return simple.found


def zigzag(new: bytes, old: bytes) -> npt.NDArray[np.uint32]:
    """Return the differences of the words in two texts of one length, the sign in the lowest bit."""
    moved = np.frombuffer(new, np.dtype("<i4")) - np.frombuffer(old, np.dtype("<i4"))
    turned: npt.NDArray[np.int32] = (moved << 1) ^ (moved >> 31)
    return turned.view(np.uint32)


def _model_bytes(bundle: bytes) -> int:
    if is_software(bundle):
        return 0
    try:
        return min(len(bundle), max(0, inspect(BytesIO(bundle)).manifest.tflite_bytes))
    except BundleError:
        return len(bundle)


def _model_stretches(old: bytes, new: bytes) -> Iterator[tuple[int | None, int]]:
    """Yield (offset in `old` or None, bytes) of stretches that cover `new`."""
    here = there = 0
    for there_next, here_next, size in (*_matched(old, new), (len(old), len(new), 0)):
        shared = min(there_next - there, here_next - here)
        if shared >= 0:
            yield there, shared
            yield None, here_next - here - shared
            yield there_next, size
            here, there = here_next + size, there_next + size


def _matched(old: bytes, new: bytes) -> list[tuple[int, int, int]]:
    """Return (offset in `old`, offset in `new`, bytes) of buffers that are the same tensor, in order."""
    mine, other = (
        [(at, size) for at, size in buffers(data) if size >= _SMALLEST_BUFFER] for data in (new, old)
    )
    blocks = SequenceMatcher(
        None, [size for _, size in other], [size for _, size in mine], autojunk=False
    ).get_matching_blocks()
    return [
        (other[block.a + i][0], mine[block.b + i][0], mine[block.b + i][1])
        for block in blocks
        for i in range(block.size)
    ]


def _zip_stretches(old: bytes, new: bytes, old_start: int, start: int) -> Iterator[tuple[int | None, int]]:
    """Yield stretches that cover `new` from `start` on; those that lie in `old` are equal there."""
    known: dict[bytes, int] = {}
    if max(len(old) - old_start, len(new) - start) <= _LONGEST_SEARCH:
        for at in range(old_start, len(old) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
            known.setdefault(old[at : at + _BLOCK_BYTES], at)
    begun = here = start
    while known and here <= len(new) - _BLOCK_BYTES:
        there = known.get(new[here : here + _BLOCK_BYTES])
        if there is None:
            here += 1
            continue
        while here > begun and there > old_start and new[here - 1] == old[there - 1]:
            here, there = here - 1, there - 1
        size = _equal_bytes(old, there, new, here)
        yield None, here - begun
        yield there, size
        begun = here = here + size
    yield None, len(new) - begun


def _equal_bytes(old: bytes, there: int, new: bytes, here: int) -> int:
    size = min(len(old) - there, len(new) - here)
    differ = np.frombuffer(old, np.uint8, size, there) != np.frombuffer(new, np.uint8, size, here)
    first = int(np.argmax(differ)) if size else 0
    return first if size and differ[first] else size


class _Segments:
    """Chooses the form of one stretch after the other, and joins what can be joined."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self._old = old
        self._new = new
        self._covered = 0
        self.found: list[Segment] = []

    def add(self, at: int | None, size: int) -> None:
        """Cover the next `size` bytes, with what lies at `at` of the old bundle if there is something."""
        if at is not None and size % _WORD:
            odd = size % _WORD
            self.add(at, size - odd)
            self._append(Segment(Form.BYTES, at + size - odd, odd))
        elif size:
            self._append(self._best(at, size))

    def _best(self, at: int | None, size: int) -> Segment:
        if at is None:
            return Segment(Form.NEW, 0, size)
        new, old = self._new[self._covered : self._covered + size], self._old[at : at + size]
        if new == old:
            return Segment(Form.COPY, at, size)
        moved = np.frombuffer(new, np.uint8) - np.frombuffer(old, np.uint8)
        bits = {
            Form.NEW: min(_bits(np.frombuffer(new, np.uint8)), _word_bits(np.frombuffer(new, np.uint8))),
            Form.BYTES: _bits(moved),
            Form.WORDS: _word_bits(zigzag(new, old).view(np.uint8)),
        }
        form = min(bits, key=lambda f: bits[f] + (0 if self._goes_on(f, at) else _SEGMENT_BITS))
        return Segment(form, 0 if form is Form.NEW else at, size)

    def _goes_on(self, form: Form, at: int) -> bool:
        if not self.found or self.found[-1].form is not form:
            return False
        return form is Form.NEW or self.found[-1].base + self.found[-1].size == at

    def _append(self, segment: Segment) -> None:
        self._covered += segment.size
        if self._goes_on(segment.form, segment.base):
            last = self.found.pop()
            segment = Segment(last.form, last.base, last.size + segment.size)
        self.found.append(segment)


def _word_bits(data: npt.NDArray[Any]) -> float:
    return sum(_bits(data[place::_WORD]) for place in range(_WORD))


def _bits(data: npt.NDArray[Any]) -> float:
    """Return the bits that `data` takes when each byte costs what its frequency says (its entropy)."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(data), _COUNTED_AT_A_TIME):
        counts += np.bincount(data[start : start + _COUNTED_AT_A_TIME], minlength=256)
    seen = counts[counts > 0]
    return float((seen * (np.log2(len(data)) - np.log2(seen))).sum())
