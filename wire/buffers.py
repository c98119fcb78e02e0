"""Where the constants of a .tflite lie: just enough of the format to line up two files of one network.

From `schema.fbs` of TensorFlow: the root table's field 4 is the list of buffers, and field 0 of each is its
bytes. Nothing here is trusted: offsets that lead out of the file end the search.
"""

from __future__ import annotations

import struct
from typing import Final

_BUFFERS_FIELD: Final = 4
_DATA_FIELD: Final = 0


def buffers(tflite: bytes) -> list[tuple[int, int]]:
    """Return (offset, bytes) of each buffer that lies in `tflite`, by offset; none if it is no such file."""
    found = []
    try:
        if tflite[4:8] != b"TFL3":
            return []
        tables = _vector(tflite, _number(tflite, 0), _BUFFERS_FIELD)
        for i in range(tables[1]):
            place = tables[0] + 4 * i
            data = _vector(tflite, place + _number(tflite, place), _DATA_FIELD)
            if data[1] and data[0] + data[1] <= len(tflite):
                found.append(data)
    except (struct.error, OverflowError):
        return []
    return sorted(set(found))


def _vector(data: bytes, table: int, field: int) -> tuple[int, int]:
    """Return (offset, length) of the list in `field` of the table at `table`; (0, 0) where it is not set."""
    layout = table - _signed(data, table)
    (layout_bytes,) = struct.unpack_from("<H", data, layout)
    entry = 4 + 2 * field
    (place,) = struct.unpack_from("<H", data, layout + entry) if entry + 2 <= layout_bytes else (0,)
    if not place:
        return 0, 0
    start = table + place + _number(data, table + place)
    return start + 4, _number(data, start)


def _number(data: bytes, at: int) -> int:
    (value,) = struct.unpack_from("<I", data, at)
    return int(value)


def _signed(data: bytes, at: int) -> int:
    (value,) = struct.unpack_from("<i", data, at)
    return int(value)
