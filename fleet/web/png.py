"""Pixels as a PNG file (RFC 2083; ISO/IEC 15948), 8 bits deep, grey or RGB, unfiltered. Pure."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_DEPTH: Final = 8
#: Colour types by channels.
_KINDS: Final = {1: 0, 3: 2}


def png(pixels: npt.NDArray[Any]) -> bytes:
    """Return a file of uint8 pixels [height, width, 1 or 3]."""
    height, width, channels = pixels.shape
    # Each row begins with the filter that it went through: 0 is none.
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, _DEPTH, _KINDS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
