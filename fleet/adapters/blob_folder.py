"""The folder `<state>/blobs`: a file for each blob and each list of its chunks, named by its own SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from wire.adapters.files import sweep_temporaries, write_atomic
from wire.blob import DIGEST_BYTES, chunk_count, decompress
from wire.errors import TransferError
from wire.messages import Blob, Release
from wire.topics import SHA256

#: A file of a push that is this old was left by one that was killed.
_ABANDONED_S: Final = 3600.0


class BlobFolder:
    """Reads, writes and removes the files; which of them are needed is the registry's to say."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "blobs"

    def open(self) -> BlobFolder:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def sweep(self) -> None:
        """Remove what killed commands left half-written; a push may be under way beside us."""
        sweep_temporaries(self._folder, older_than_s=_ABANDONED_S)

    def write(self, blob: Blob, data: bytes, digests: bytes) -> None:
        """Store a blob and the list of its chunk digests."""
        write_atomic(self._path(blob.sha256), data)
        write_atomic(self._path(blob.chunks_sha256), digests)

    def read(self, sha256: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` of a stored blob."""
        with self._path(sha256).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def read_bundle(self, release: Release) -> bytes:
        """Return the bundle of a release; raise TransferError or OSError when its blob is not sound."""
        pieces = decompress(
            [self._path(release.blobs[0].sha256).read_bytes()], size_bytes=release.bundle_bytes
        )
        bundle = b"".join(pieces)
        if hashlib.sha256(bundle).hexdigest() != release.bundle_sha256:
            raise TransferError("its blob here is damaged")
        return bundle

    def holds(self, blob: Blob) -> bool:
        """Return whether the blob and its list are here, in their full size."""
        return (
            self._size(blob.sha256) == blob.size_bytes
            and self._size(blob.chunks_sha256) == chunk_count(blob.size_bytes) * DIGEST_BYTES
        )

    def remove_all_but(self, needed: Iterable[str]) -> int:
        """Remove the files that are not `needed`; return how many. What is being written stays."""
        stored = {path.name for path in self._folder.iterdir() if SHA256.fullmatch(path.name)}
        unneeded = stored - set(needed)
        for name in unneeded:
            self._path(name).unlink(missing_ok=True)
        return len(unneeded)

    def _size(self, sha256: str) -> int:
        path = self._path(sha256)
        return path.stat().st_size if path.exists() else -1

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256
