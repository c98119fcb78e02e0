"""Environments of software on the disk: one folder for each release, complete by construction.

    <folder>/<sha256>/             its files, with what Python compiles of them, and SHA256SUMS
    <folder>/.<sha256>.tmp/        one that is being made

Compiled files are made here, once: an agent that wrote them at its first start could be cut off in the
middle, and they are among the files of which the launcher knows the digests.
"""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import hashlib
import os
import py_compile
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from launcher.disk import broken_file
from wire.adapters.files import sync_folder
from wire.software import SUMS, listing, unpacked

#: An environment over its release: what is compiled is as large as its source.
ROOM: Final = 3


class Environments:
    """The environments of one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder and remove what a killed trial left half-made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for temp in self.folder.glob(".*.tmp"):
            shutil.rmtree(temp)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def broken(self, sha256: str) -> str | None:
        """Return the first file that is not as it was installed; None when all are."""
        return broken_file(self.path(sha256))

    def build(self, release: Path, sha256: str) -> Path:
        """Make the environment of a release that was inspected; raise BundleError or OSError."""
        place = self.path(sha256)
        if self.broken(sha256) is None:
            return place
        self.folder.mkdir(parents=True, exist_ok=True)
        temp = self.folder / f".{sha256}.tmp"
        for old in (temp, place):
            shutil.rmtree(old, ignore_errors=True)
        try:
            with release.open("rb") as file:
                for name, data in unpacked(file):
                    path = temp / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            _compile(temp, place)
            _seal(temp)
            temp.rename(place)
            sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
        return place

    def collect(self, keep: Iterable[str]) -> None:
        """Remove the environments of all other releases."""
        kept = frozenset(keep)
        with contextlib.suppress(FileNotFoundError):
            for path in [p for p in self.folder.iterdir() if p.name not in kept]:
                shutil.rmtree(path)


def _compile(folder: Path, place: Path) -> None:
    """Compile what compiles; a file that does not is refused by whoever imports it."""
    compileall.compile_dir(
        str(folder), quiet=2, stripdir=str(folder), prependdir=str(place),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip


def _seal(folder: Path) -> None:
    """Write down what is there, and have all of it on the disk."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    digests = {str(path.relative_to(folder)): _sha256(path) for path in files}
    (folder / SUMS).write_bytes(listing(digests))
    handle = os.open(folder, os.O_RDONLY)
    try:  # once for all of them: a card takes a tenth of a second for the fsync of each of 500 files
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            raise OSError(ctypes.get_errno(), "cannot be written")
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
