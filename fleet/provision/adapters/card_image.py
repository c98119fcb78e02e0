"""An image file as it was downloaded: read only, unpacked on the way, and known to be whole.

Packed images (.xz, .gz, .bz2, .zip) are unpacked with the standard library while they are copied, and
told by their first bytes, not by their names. For .zst a library is needed that may not be there.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from fleet.provision.partitions import HEAD_BYTES, CardLayout, find_boot, in_sectors
from wire.errors import SettingsError, UnavailableError

#: Large enough for a card to write at its full speed, small enough to show progress.
CHUNK_BYTES: Final = 4 << 20
#: Python 3.14's own module for .zst, and the package for it.
_ZST_MODULES: Final = ("compression.zstd", "zstandard")


@dataclass(frozen=True)
class CardImage:
    """A file that holds what goes onto a card."""

    path: Path
    layout: CardLayout
    is_packed: bool
    #: How much is written: of a packed image as its partitions say, until all of it has been unpacked.
    size_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Yield all its bytes, in pieces of CHUNK_BYTES, filled up with zeros to whole sectors.

        Raises SettingsError when less comes out of it than its partitions need.
        """
        done = 0
        with _unpacked(self.path) as file:
            while chunk := _read(file, CHUNK_BYTES, self.path):
                done += len(chunk)
                yield chunk.ljust(in_sectors(len(chunk)), b"\0")
        _check_whole(self.path, done, self.layout)

    def sha256(self) -> str:
        """Return the digest of the file as it is, packed or not: what a download page says."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def open_image(path: Path) -> CardImage:
    """Return the image in the file `path`; raise SettingsError for a file that is none, or not whole."""
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such file" if not path.exists() else f"{path} is no file")
    with path.open("rb") as file:
        is_packed = _opener(file.read(8)) is not None
    with _unpacked(path) as unpacked:
        head = _read(unpacked, HEAD_BYTES, path)
    layout = find_boot(head, str(path))
    size_bytes = path.stat().st_size
    if not is_packed:
        _check_whole(path, size_bytes, layout)
        return CardImage(path, layout, is_packed, size_bytes)
    return CardImage(path, layout, is_packed, layout.end_bytes)


def _check_whole(path: Path, size_bytes: int, layout: CardLayout) -> None:
    if size_bytes < layout.end_bytes:
        raise SettingsError(
            f"{path} is cut off: its partitions need {layout.end_bytes:,} bytes and it has {size_bytes:,}; "
            "download it again"
        )


def _read(file: BinaryIO, count: int, path: Path) -> bytes:
    """Return `count` bytes, fewer only at the end."""
    pieces: list[bytes] = []
    missing = count
    try:
        while missing and (piece := file.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
    except _unpacking_errors() as error:
        raise _broken(path, error) from error
    return b"".join(pieces)


def _unpacking_errors() -> tuple[type[Exception], ...]:
    """Return what unpackers raise for files that are cut off or changed."""
    zst = (sys.modules[name].ZstdError for name in _ZST_MODULES if name in sys.modules)
    return (lzma.LZMAError, zlib.error, zipfile.BadZipFile, EOFError, OSError, *zst)


def _broken(path: Path, error: Exception) -> Exception:
    """Return what to raise for `error`: the system could not read, or the unpacker."""
    if isinstance(error, OSError) and error.errno is not None:
        return UnavailableError(f"{path} cannot be read: {error.strerror}")
    return SettingsError(f"{path} is damaged or cut off ({error}): download it again")


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        opener = _opener(file.read(8))
        file.seek(0)
        if opener is None:
            yield file
            return
        try:
            unpacked = opener(file, path)
        except (zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise _broken(path, error) from error
        except RuntimeError as error:  # a .zip with a password, or packed in a way that Python does not know
            raise SettingsError(f"{path}: {error}; unpack it and name the image") from error
        with unpacked:
            yield unpacked


_Opener = Callable[[BinaryIO, Path], BinaryIO]


def _opener(magic: bytes) -> _Opener | None:
    return next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), None)


def _open_zip(file: BinaryIO, path: Path) -> BinaryIO:
    archive = zipfile.ZipFile(file)
    images = [info for info in archive.infolist() if info.filename.lower().endswith(".img")]
    if len(images) != 1:
        raise SettingsError(f"{path} holds {len(images)} files named .img: unpack it and name the image")
    return cast(BinaryIO, archive.open(images[0]))


def _open_zst(file: BinaryIO, path: Path) -> BinaryIO:
    for name in _ZST_MODULES:
        try:
            return cast(BinaryIO, importlib.import_module(name).open(file, "rb"))
        except ModuleNotFoundError:
            continue
    raise SettingsError(
        f"{path} needs a library for .zst: unpack it (`unzstd {path}`), or pip install zstandard"
    )


def _open_xz(file: BinaryIO, _: Path) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(file))


def _open_gz(file: BinaryIO, _: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=file))


def _open_bz2(file: BinaryIO, _: Path) -> BinaryIO:
    return cast(BinaryIO, bz2.BZ2File(file))


_OPENERS: Final[dict[bytes, _Opener]] = {
    b"\xfd7zXZ\0": _open_xz,
    b"\x1f\x8b": _open_gz,
    b"BZh": _open_bz2,
    b"PK\x03\x04": _open_zip,
    b"\x28\xb5\x2f\xfd": _open_zst,
}
