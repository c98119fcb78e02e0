"""One model's part of the device's disk: installed bundles, half-downloaded blobs, and the pointer.

    <folder>/pointer.json          which bundle serves (edge/pointer.py)
    <folder>/models/<sha256>.tflite   installed bundles, complete by construction: renamed into place
    <folder>/parts/<sha256>.part   a blob on its way; which chunks it holds is found by hashing it
    <folder>/parts/<sha256>.list   the digests of its chunks

The folder is the model's alone: edge/adapters/model_folders.py says which it is.
A file in models/ is never written in place: truncating a model that an interpreter has mapped ends
the process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge.download import NoSpaceError, Part
from edge.pointer import Pointer, Slot
from wire.adapters.files import sweep_temporaries, sync_folder, write_atomic, write_checked
from wire.blob import CHUNK_BYTES, decompress, parse_digests
from wire.codec import decode, encode
from wire.delta import apply
from wire.errors import MessageError, TransferError
from wire.messages import Blob, Release

log = logging.getLogger(__name__)

#: Left free for the outbox, the journal and the system.
RESERVE_BYTES: Final = 8 * 1024 * 1024


class PartFile:
    """A blob on its way, as large as the whole from the start, so that a full disk shows at 0 %."""

    def __init__(self, path: Path, blob: Blob) -> None:
        self._path = path
        self._blob = blob

    def reserve(self) -> None:
        """Take the space; raise NoSpaceError when there is not enough."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(handle, 0, self._blob.size_bytes)
            os.ftruncate(handle, self._blob.size_bytes)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            if error.errno != errno.ENOSPC:
                raise
            raise NoSpaceError(f"no space for {self._blob.size_bytes} bytes") from error
        finally:
            os.close(handle)

    def missing(self, digests: tuple[bytes, ...]) -> list[int]:
        """Return the chunks that are not there yet, or not whole: hashing tells, no bitmap can go stale."""
        with self._path.open("rb") as file:
            return [
                i
                for i, digest in enumerate(digests)
                if hashlib.sha256(file.read(CHUNK_BYTES)).digest() != digest
            ]

    def write(self, index: int, chunk: bytes) -> None:
        with self._path.open("r+b") as file:
            file.seek(index * CHUNK_BYTES)
            file.write(chunk)

    def digests(self) -> tuple[bytes, ...] | None:
        """Return the chunk digests if an earlier run fetched them."""
        try:
            return parse_digests(self._list_path.read_bytes(), self._blob)
        except (OSError, TransferError):
            return None

    def keep_digests(self, raw: bytes) -> None:
        write_atomic(self._list_path, raw)

    def pieces(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    @property
    def _list_path(self) -> Path:
        return self._path.with_suffix(".list")


class ModelStore:
    """Bundles of one model on the disk of one device."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models = folder / "models"
        self._parts = folder / "parts"

    def open(self) -> None:
        """Make the folders and remove what a killed run left half-written."""
        for folder in (self._folder, self._models, self._parts):
            folder.mkdir(parents=True, exist_ok=True)
            sweep_temporaries(folder)

    def read_pointer(self) -> Pointer:
        """Return the pointer; an unreadable one counts as none, and is logged."""
        try:
            return decode(Pointer, self._pointer_path.read_bytes())
        except FileNotFoundError:
            return Pointer()
        except MessageError as error:
            log.error("pointer.json is unreadable, starting without a model: %s", error)
            return Pointer()

    def write_pointer(self, pointer: Pointer) -> None:
        write_atomic(self._pointer_path, encode(pointer))

    def path(self, sha256: str) -> Path:
        return self._models / f"{sha256}.tflite"

    def holds(self, sha256: str) -> bool:
        """Return whether the bundle is there and whole; a damaged one is removed."""
        path = self.path(sha256)
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return True
        except FileNotFoundError:
            return False
        log.error("%s is damaged and will be fetched again", path)
        path.unlink()
        return False

    def on_disk(self) -> frozenset[str]:
        return frozenset(p.stem for p in self._models.glob("*.tflite"))

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def reserve(self, blob: Blob, release: Release) -> PartFile:
        """Make room for a blob and the bundle in it; raise NoSpaceError before the first byte."""
        self._remove_parts(but=blob.sha256)
        part = self._parts / f"{blob.sha256}.part"
        there = part.stat().st_size if part.exists() else 0
        need = blob.size_bytes - there + release.bundle_bytes + RESERVE_BYTES
        have = self.free_bytes()
        if need > have:
            raise NoSpaceError(f"needs {need} bytes free, has {have}")
        file = PartFile(part, blob)
        file.reserve()
        return file

    def install(self, part: Part, blob: Blob, release: Release) -> None:
        """Make an installed bundle of `part`; raise TransferError unless it is just what was signed."""

        def check(temp: Path) -> None:
            with temp.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != release.bundle_sha256:
                    raise TransferError("the unpacked bundle does not match its digest")

        try:
            with self._unpacked(part, blob, release) as pieces:
                write_checked(self.path(release.bundle_sha256), pieces, check)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise NoSpaceError("the disk filled up while unpacking") from error
        except TransferError:
            self._remove_parts()  # its chunks were right and it is wrong: fetch it anew
            raise
        self._remove_parts()

    @contextlib.contextmanager
    def _unpacked(self, part: Part, blob: Blob, release: Release) -> Iterator[Iterator[bytes]]:
        base = blob.base_sha256
        if base is None:
            yield decompress(part.pieces(), size_bytes=release.bundle_bytes)
            return
        try:
            file = self.path(base).open("rb")
        except OSError as error:
            raise TransferError(f"what it updates cannot be read: {error.strerror}") from error
        with file:
            yield apply(file, part.pieces(), base_sha256=base, size_bytes=release.bundle_bytes)

    def adopt(self, bundle: bytes, release: str) -> Slot:
        """Install a bundle that came with the device instead of over the network."""
        sha256 = hashlib.sha256(bundle).hexdigest()
        write_atomic(self.path(sha256), bundle)
        return Slot(release, sha256)

    def collect(self, keep: frozenset[str]) -> None:
        """Remove bundles that nothing names any more."""
        stale = [p for p in self._models.glob("*.tflite") if p.stem not in keep]
        for path in stale:
            path.unlink(missing_ok=True)
        if stale:
            sync_folder(self._models)

    def _remove_parts(self, but: str = "") -> None:
        """Forget blobs on their way: a model has one download at a time, so no other matters."""
        for path in self._parts.iterdir():
            if path.stem != but:
                path.unlink(missing_ok=True)

    @property
    def _pointer_path(self) -> Path:
        return self._folder / "pointer.json"
