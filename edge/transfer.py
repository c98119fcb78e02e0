"""One release on its way to the disk: the blob that is fetched for it, its room, its download, its end.

It holds what belongs to one transfer. What a failure means, how often to try, and what comes next is the
updater's to say (edge/updater.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.download import Download, Part
from edge.fetching import choose_blob
from edge.ports import Store
from wire.messages import Blob, Release
from wire.topics import BlobTopic


@dataclass(frozen=True)
class Progress:
    """Chunks of a download: those that are here, all, those fetched by this run, and requests made again."""

    done: int = 0
    total: int = 0
    fetched: int = 0
    repeats: int = 0


class Transfer:
    """At most one at a time: `reserve`, `begin`, `tick` until `finished`, `stop`, `install`."""

    def __init__(self, store: Store, make_download: Callable[[Blob, Part, int | None], Download]) -> None:
        self._store = store
        self._make_download = make_download
        self._blob: Blob | None = None
        self._part: Part | None = None
        self._download: Download | None = None
        self._base = ""

    @property
    def running(self) -> bool:
        return self._download is not None

    @property
    def finished(self) -> bool:
        return self._download is not None and self._download.finished

    @property
    def progress(self) -> Progress:
        """All zero while nothing is fetched."""
        if self._download is None:
            return Progress()
        return Progress(
            self._download.done, self._download.total, self._download.fetched, self._download.repeats
        )

    @property
    def delta(self) -> Blob | None:
        """The blob, if it holds the differences from another bundle and no whole one."""
        return self._blob if self._blob and self._blob.base_sha256 else None

    @property
    def way(self) -> str:
        """Which bundle the blob updates, as the end of a sentence; empty for a whole one."""
        return f" of an update from {self._base}" if self.delta else ""

    def reserve(self, release: Release, bases: Mapping[str, str], failed: frozenset[str]) -> None:
        """Choose the blob and take its room on the disk; raise NoSpaceError or OSError.

        `bases` names the releases whose bundles may be here by the digest of the bundle; `failed` are the
        digests of deltas that are not to be fetched again.
        """
        blob = self._choose(release, frozenset(bases), failed)
        self._part = self._store.reserve(blob, release)
        self._blob = blob
        self._base = bases.get(blob.base_sha256 or "", "")

    def begin(self, rate_bytes_s: int | None) -> None:
        """Fetch what was reserved, or what is missing of it."""
        assert self._blob is not None, "nothing was reserved"
        assert self._part is not None
        self._download = self._make_download(self._blob, self._part, rate_bytes_s)
        self._download.begin()

    def limit(self, rate_bytes_s: int | None) -> None:
        """Change the cap of what runs."""
        if self._download is not None:
            self._download.limit(rate_bytes_s)

    def receive(self, topic: BlobTopic, payload: bytes, now_s: float) -> None:
        """Take a chunk; raise TransferError or OSError."""
        if self._download is not None:
            self._download.receive(topic, payload, now_s)

    def tick(self, now_s: float) -> None:
        """Ask for what is due; raise TransferError."""
        if self._download is not None:
            self._download.tick(now_s)

    def link_lost(self) -> None:
        if self._download is not None:
            self._download.link_lost()

    def stop(self) -> None:
        """Ask for nothing any more; what was fetched stays."""
        if self._download is not None:
            self._download.stop()
        self._download = None

    def install(self, release: Release) -> None:
        """Make the bundle of what was fetched; raise NoSpaceError, TransferError or OSError."""
        assert self._blob is not None, "nothing was fetched"
        assert self._part is not None
        self._store.install(self._part, self._blob, release)

    def _choose(self, release: Release, bases: frozenset[str], failed: frozenset[str]) -> Blob:
        """Return the whole bundle, or an update of one that is whole here (its digest is looked at once)."""
        while True:
            blob = choose_blob(release, bases, failed)
            if blob.base_sha256 is None or self._holds(blob.base_sha256):
                return blob
            bases -= {blob.base_sha256}

    def _holds(self, sha256: str) -> bool:
        try:
            return self._store.holds(sha256)
        except OSError:  # a disk that cannot read it: then it is no base
            return False
