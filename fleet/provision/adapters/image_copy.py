"""A copy of an image that takes only the room of what is in it, and gets its name when it is finished."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from fleet.provision.adapters.card_image import CardImage
from fleet.provision.adapters.file_medium import FileMedium
from fleet.provision.partitions import in_sectors
from wire.adapters.files import sync_folder
from wire.blob import Told
from wire.errors import SettingsError, UnavailableError

#: Linux' ioctl that lets two files share their blocks until one is written (Btrfs, XFS, bcachefs).
_FICLONE: Final = 0x40049409
#: How fine holes are: what file systems have for a block, times some.
_HOLE_BYTES: Final = 64 << 10
_ZEROS: Final = bytes(_HOLE_BYTES)
#: How names of scratch files begin.
_SCRATCH: Final = ".unpacked-"


@contextmanager
def new_image(out: Path) -> Iterator[int]:
    """Yield the descriptor of a file that becomes `out` when the block ends well, and else goes away.

    Only its owner may read it: a prepared image holds passwords and keys. A killed process leaves a file
    `.NAME.part`, which the next one for the same name writes over.
    """
    part = out.with_name(f".{out.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SettingsError(f"{out} cannot be written: {error.strerror}") from error
    try:
        _lock(descriptor, part, out)
        try:
            os.fchmod(descriptor, 0o600)  # whatever it was when somebody else made it
            os.ftruncate(descriptor, 0)
            yield descriptor
            os.fsync(descriptor)
            part.replace(out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)
    sync_folder(out.parent)


@contextmanager
def scratch_image(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield an empty file in `folder`, and its descriptor, for the time of the block.

    It is locked while its process lives. What a killed one has left, gigabytes, goes away first.
    """
    for left in folder.glob(f"{_SCRATCH}*"):
        with suppress(OSError):  # it is gone meanwhile, or somebody else's: nobody needs it to go
            _remove_abandoned(left)
    with NamedTemporaryFile(dir=folder, prefix=_SCRATCH) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(file.name), file.fileno()


def fill(descriptor: int, image: CardImage, told: Told) -> None:
    """Make an empty file a copy of `image`: by sharing its blocks where the file system can."""
    if not image.is_packed and _clone(image.path, descriptor):
        os.ftruncate(descriptor, in_sectors(os.fstat(descriptor).st_size))
        told(image.size_bytes, image.size_bytes)
        return
    done = 0
    for chunk in image.chunks():
        _write_sparse(descriptor, chunk, done)
        done += len(chunk)
        told(done, max(done, image.size_bytes))
    os.ftruncate(descriptor, done)


def is_copy(path: Path, image: CardImage) -> bool:
    """Say whether `path` holds what `image` does, but for what is in the boot partition."""
    boot, place = image.layout.boot, 0
    with path.open("rb") as file:
        for chunk in image.chunks():
            other = file.read(len(chunk))
            low, high = (min(max(end - place, 0), len(chunk)) for end in (boot.offset_bytes, boot.end_bytes))
            if other[:low] != chunk[:low] or other[high:] != chunk[high:] or len(other) != len(chunk):
                return False
            place += len(chunk)
        return not file.read(1)


def _write_sparse(descriptor: int, chunk: bytes, offset: int) -> None:
    medium = FileMedium(descriptor)
    for start in range(0, len(chunk), _HOLE_BYTES):
        block = chunk[start : start + _HOLE_BYTES]  # a copy: views are compared 50 times slower
        if block != _ZEROS[: len(block)]:
            medium.write_at(offset + start, block)


def _clone(source: Path, descriptor: int) -> bool:
    with source.open("rb") as file:
        try:
            fcntl.ioctl(descriptor, _FICLONE, file.fileno())
        except OSError:  # another file system, or one that cannot, or not Linux: then it is copied
            return False
    return True


def _remove_abandoned(scratch: Path) -> None:
    """Remove a scratch file; raise OSError where another process holds it."""
    descriptor = os.open(scratch, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size:  # one without may be just made, and not locked yet
            scratch.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, part: Path, out: Path) -> None:
    """Hold the file `part`; raise UnavailableError where another process does, or made `out` of it since."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), part.stat(follow_symlinks=False)):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise UnavailableError(f"another flash writes {out}: wait for it")
