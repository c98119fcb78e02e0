"""An open image or disk as a medium."""

from __future__ import annotations

import errno
import os


class FileMedium:
    """The file behind a descriptor, which stays its opener's to close."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read_at(self, offset: int, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            piece = os.pread(self._descriptor, count, offset)
            if not piece:
                raise OSError(errno.EIO, "the image or disk ends too early")
            pieces.append(piece)
            offset, count = offset + len(piece), count - len(piece)
        return b"".join(pieces)

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def forget(self) -> None:
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
