"""The port to where a file system's bytes are: an image or a disk, read and written at any place."""

from __future__ import annotations

import errno
from typing import Protocol


class Medium(Protocol):
    """Raises OSError for what cannot be read or written; a read beyond the end is EIO."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`."""

    def sync(self) -> None:
        """Return when all that was written is safe."""

    def forget(self) -> None:
        """Have later reads come from where the bytes are, and not from a memory of them."""


class FakeMedium:
    """A medium in memory, which someone pulls out after so many more writes."""

    def __init__(self, data: bytes, *, pulled_after: int | None = None) -> None:
        self.data = bytearray(data)
        self.pulled_after = pulled_after

    def read_at(self, offset: int, count: int) -> bytes:
        data = bytes(self.data[offset : offset + count])
        if len(data) != count or self.pulled_after == 0:
            raise OSError(errno.EIO, "Input/output error")
        return data

    def write_at(self, offset: int, data: bytes) -> None:
        if self.pulled_after == 0 or offset + len(data) > len(self.data):
            raise OSError(errno.EIO, "Input/output error")
        self.pulled_after = None if self.pulled_after is None else self.pulled_after - 1
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        if self.pulled_after == 0:
            raise OSError(errno.EIO, "Input/output error")

    def forget(self) -> None:
        """Nothing is elsewhere."""
