"""A whole disk, held for ourselves alone, and read and written past the memory of the system.

A write that only reached memory would look fast, and reading it back would prove nothing.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from fleet.provision.adapters.file_medium import FileMedium
from wire.errors import SettingsError, UnavailableError

#: Linux' ioctl that has a disk's cached blocks forgotten; for root only.
_BLKFLSBUF: Final = 0x1261
#: What direct access wants its places and lengths to be whole multiples of.
_ALIGNED_BYTES: Final = 512
#: From here on, direct access is worth it; less is read and written by way of memory, with `forget`.
_LARGE_BYTES: Final = 1 << 20


@contextmanager
def open_disk(path: str) -> Iterator[DiskMedium]:
    """Hold a disk: as long as the block runs, nobody can mount any part of it."""
    held = _open(path, os.O_RDWR | os.O_EXCL)
    try:
        try:
            direct = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            direct = None  # what stands in for a disk may not offer it
        try:
            yield DiskMedium(held, direct)
        finally:
            if direct is not None:
                os.close(direct)
    finally:
        os.close(held)


@contextmanager
def peek_disk(path: str) -> Iterator[FileMedium]:
    """Open a disk to be read, whoever else has it."""
    descriptor = _open(path, os.O_RDONLY)
    try:
        medium = FileMedium(descriptor)
        medium.forget()
        yield medium
    finally:
        os.close(descriptor)


class DiskMedium(FileMedium):
    """A medium whose large reads and writes are direct, where the disk offers that."""

    def __init__(self, descriptor: int, direct: int | None) -> None:
        super().__init__(descriptor)
        self._direct = direct

    def read_at(self, offset: int, count: int) -> bytes:
        if self._direct is None or not _is_large(offset, count):
            return super().read_at(offset, count)
        with mmap.mmap(-1, count) as aligned, memoryview(aligned) as view:
            done = 0
            while done < count:
                got = os.preadv(self._direct, [view[done:]], offset + done)
                if got == 0:
                    raise OSError(errno.EIO, "the disk ends too early")
                done += got
            return bytes(view)

    def write_at(self, offset: int, data: bytes) -> None:
        if self._direct is None or not _is_large(offset, len(data)):
            super().write_at(offset, data)
            return
        with mmap.mmap(-1, len(data)) as aligned, memoryview(aligned) as view:
            view[:] = data
            done = 0
            while done < len(data):
                done += os.pwrite(self._direct, view[done:], offset + done)

    def forget(self) -> None:
        super().forget()
        with suppress(OSError):  # a plain file has no such call, and only root may use it
            fcntl.ioctl(self._descriptor, _BLKFLSBUF)


def _is_large(offset: int, count: int) -> bool:
    return count >= _LARGE_BYTES and offset % _ALIGNED_BYTES == count % _ALIGNED_BYTES == 0


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except PermissionError as error:
        raise UnavailableError(f"{path} may not be written by this user: use sudo") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise SettingsError(f"{path} is in use: unmount it first") from error
        raise UnavailableError(f"{path} cannot be opened: {error.strerror}") from error
