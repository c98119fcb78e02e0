"""Compressed bodies, never longer than they may be. Pure."""

from __future__ import annotations

import zlib
from typing import Final

from edge.web.reply import HttpError, bad_request

#: zlib's window bits: gzip has a header of its own, `deflate` is zlib's format.
_WINDOWS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}

#: How many bytes one byte may become (zlib.net/zlib_tech.html).
MOST_INFLATED: Final = 1032


def inflate(body: bytes | bytearray, encoding: bytes, limit: int) -> bytes:
    """Return what `body` holds; raise HttpError 400, 413 when it is longer than `limit`, or 415."""
    window = _WINDOWS.get(encoding.strip().lower())
    if window is None:
        raise HttpError(415, "content-encoding: gzip or deflate", reason="bad")
    stream = zlib.decompressobj(window)
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise bad_request(f"the body is no {encoding.decode()}: {error}") from error
    if len(whole) > limit:
        raise HttpError(413, f"more than {limit} bytes when unpacked", reason="too-large")
    if not stream.eof or stream.unused_data:
        raise bad_request(f"the body is not one whole {encoding.decode()} stream")
    return whole
