"""Reads a flatbuffer that may come from anyone, in pure Python.

Rules:
- nothing outside the file is read: what does not fit raises `DamageError`, whose text says what does not;
- the work is bounded by what a real file holds, not by what this one claims: tables may be shared,
  so that a small file can describe an endless one;
- what the flatbuffers verifier refuses is refused here too (offsets of 0, tables and vectors off
  their alignment, texts without an end), since old interpreters have no verifier.

The format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

INT8: Final = struct.Struct("<b")
UINT8: Final = struct.Struct("<B")
INT32: Final = struct.Struct("<i")
UINT32: Final = struct.Struct("<I")
INT64: Final = struct.Struct("<q")
UINT64: Final = struct.Struct("<Q")
FLOAT32: Final = struct.Struct("<f")

#: The verifier of flatbuffers stops at a million tables; a large vision model has 10,000. Each takes 4
#: bytes at least, and is shared by writers here and there only: a small file cannot hold many.
_MOST_TABLES: Final = 300_000
_TABLE_BYTES: Final = 4
_SPARE_TABLES: Final = 1000
_MOST_NUMBERS: Final = 4_000_000
_MOST_FIELDS: Final = 128
_LONGEST_TEXT: Final = 4096

_Found = TypeVar("_Found")


class DamageError(ValueError):
    """What does not fit, in a few words."""


class Table(NamedTuple):
    """A table: where it is, and for each field its distance from there (0: absent)."""

    at: int
    fields: tuple[int, ...]


class Reader:
    """Walks the tables of one file."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.size = len(data)
        self._layouts: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._tables_left = min(_MOST_TABLES, self.size // _TABLE_BYTES + _SPARE_TABLES)
        self._numbers_left = _MOST_NUMBERS

    def root(self) -> Table:
        return self._table(self._follow(0))

    def scalar(self, table: Table, field: int, kind: struct.Struct, default: int = 0) -> int:
        """Return an integer field."""
        at = _place(table, field)
        if not at:
            return default
        value: int = self._unpack(kind, at)
        return value

    def tables(self, table: Table, field: int) -> Iterator[Table]:
        """Yield the tables of a vector of tables."""
        start, count = self.vector(table, field, 4)
        for at in range(start, start + 4 * count, 4):
            yield self._table(self._follow(at))

    def each(self, table: Table, field: int, name: str, read: Callable[[Table], _Found]) -> list[_Found]:
        """Return what `read` makes of each table of a vector; damage is told with `name` and number."""
        found: list[_Found] = []
        tables = self.tables(table, field)
        while True:
            try:
                if (item := next(tables, None)) is None:
                    return found
                found.append(read(item))
            except DamageError as damage:
                raise DamageError(f"{name} {len(found)}: {damage}") from damage

    def child(self, table: Table, field: int) -> Table | None:
        """Return the table that a field refers to."""
        at = _place(table, field)
        return self._table(self._follow(at)) if at else None

    def vector(self, table: Table, field: int, width: int) -> tuple[int, int]:
        """Return where the first element of a vector is and how many of `width` bytes there are."""
        place = _place(table, field)
        if not place:
            return 0, 0
        at = self._follow(place)
        count: int = self._unpack(UINT32, at)
        if at + 4 + count * width > self.size:
            raise DamageError(f"a list of {count} elements runs past the end of the file")
        return at + 4, count

    def numbers(self, table: Table, field: int, kind: struct.Struct = INT32) -> tuple[int, ...]:
        """Return a vector of integers."""
        start, count = self.vector(table, field, kind.size)
        self._numbers_left -= count
        if self._numbers_left < 0:
            raise DamageError("more numbers than any real model has")
        return struct.unpack_from(f"<{count}{kind.format[1:]}", self._data, start) if count else ()

    def first_float(self, table: Table, field: int) -> float:
        """Return the first element of a vector of float32."""
        start, _ = self.vector(table, field, 4)
        value: float = self._unpack(FLOAT32, start)
        return value

    def text(self, table: Table, field: int) -> str:
        """Return a text, cut at 4096 bytes; what is no UTF-8 is replaced."""
        start, count = self.vector(table, field, 1)
        if not start:
            return ""
        if start + count >= self.size or self._data[start + count] != 0:
            raise DamageError("a text has no end")
        return bytes(self._data[start : start + min(count, _LONGEST_TEXT)]).decode("utf-8", "replace")

    def bytes_at(self, start: int, count: int) -> bytes:
        """Return bytes of a vector that was found before."""
        return bytes(self._data[start : start + count])

    def _table(self, at: int) -> Table:
        self._tables_left -= 1
        if self._tables_left < 0:
            raise DamageError("more tables than any real model has")
        layout_at = at - self._unpack(INT32, at)
        layout = self._layouts.get(layout_at)
        if layout is None:
            layout = self._layouts[layout_at] = self._layout(layout_at)
        size, fields = layout
        if at + size > self.size:
            raise DamageError("a table runs past the end of the file")
        return Table(at, fields)

    def _layout(self, at: int) -> tuple[int, tuple[int, ...]]:
        """Return the bytes of a table and its fields' distances, from its vtable."""
        if at < 0 or at & 1 or at + 4 > self.size:
            raise DamageError("a table's layout lies outside the file")
        length, size = struct.unpack_from("<HH", self._data, at)
        count = (length - 4) // 2
        if length < 4 or length & 1 or count > _MOST_FIELDS or at + length > self.size or size < 4:
            raise DamageError("a table's layout makes no sense")
        fields = struct.unpack_from(f"<{count}H", self._data, at + 4)
        if any(0 < field < 4 or field >= size for field in fields):
            raise DamageError("a table's field lies outside the table")
        return size, fields

    def _follow(self, at: int) -> int:
        """Return where the offset at `at` leads."""
        offset: int = self._unpack(UINT32, at)
        if not 0 < offset < self.size - at or (at + offset) & 3:
            raise DamageError("an offset leads nowhere")
        return at + offset

    def _unpack(self, kind: struct.Struct, at: int) -> Any:
        if at < 0 or at + kind.size > self.size:
            raise DamageError("it runs past the end of the file")
        return kind.unpack_from(self._data, at)[0]


def _place(table: Table, field: int) -> int:
    """Return where a field is, 0 if it is absent."""
    at, fields = table
    return at + fields[field] if field < len(fields) and fields[field] else 0
