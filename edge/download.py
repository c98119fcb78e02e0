"""One blob on its way from retained topics to a part file.

First the list of chunk digests (a blob of one chunk, named in the release), then the chunks under
the window rule. Each is hashed when it arrives and written only if it is right; a restart hashes
the part file and asks for the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from wire.blob import parse_digests
from wire.errors import TransferError
from wire.messages import Blob
from wire.topics import BlobTopic, Topics
from wire.window import Window

#: With nothing at all arriving for so long, the download gives up and is tried again later.
STALL_S: Final = 60.0


class NoSpaceError(TransferError):
    """The disk cannot take it now; says how much is missing."""


class DamagedChunkError(TransferError):
    """A chunk, or the list of their digests, is not what was signed, however often it is asked for."""


class Part(Protocol):
    """Where chunks go (edge/adapters/model_store.py)."""

    def missing(self, digests: tuple[bytes, ...]) -> list[int]: ...

    def write(self, index: int, chunk: bytes) -> None: ...

    def digests(self) -> tuple[bytes, ...] | None: ...

    def keep_digests(self, raw: bytes) -> None: ...

    def pieces(self) -> Iterator[bytes]: ...


class Subscriptions(Protocol):
    """The half of a link that a download uses."""

    def subscribe(self, topics: Iterable[str]) -> None: ...

    def unsubscribe(self, topics: Iterable[str]) -> None: ...


class Download:
    """Fetches one blob. Call `tick` often and `receive` for every chunk topic that arrives."""

    def __init__(
        self, blob: Blob, part: Part, link: Subscriptions, topics: Topics, *, rate_bytes_s: int | None
    ) -> None:
        self._blob = blob
        self._part = part
        self._link = link
        self._topics = topics
        self._rate_bytes_s = rate_bytes_s
        self._digests: tuple[bytes, ...] | None = None
        self._window = Window([0])  # of the list; replaced by the window of the blob
        self.total = 0
        self.done = 0
        self.fetched = 0
        self._list_repeats = 0

    @property
    def repeats(self) -> int:
        """How many requests were made again, for silence or a wrong digest."""
        return self._list_repeats + self._window.repeats

    @property
    def finished(self) -> bool:
        return self._digests is not None and self._window.done

    def begin(self) -> None:
        """Find out what is there already."""
        digests = self._part.digests()
        if digests is not None:
            self._have_list(digests)

    def tick(self, now_s: float) -> None:
        """Ask for what is due; raise TransferError after STALL_S of silence."""
        if self._window.stalled_s(now_s) > STALL_S:
            raise TransferError(f"no chunk for {STALL_S:.0f} s")
        ask = self._window.next(now_s)
        if ask.again:
            self._link.unsubscribe(self._names(ask.again))
        if wanted := (*ask.subscribe, *ask.again):
            self._link.subscribe(self._names(wanted))

    def receive(self, topic: BlobTopic, payload: bytes, now_s: float) -> None:
        """Take a chunk; one that nobody asked for is ignored. Raises TransferError when one stays wrong."""
        if topic.sha256 != self._name or topic.index not in self._window.outstanding:
            return
        if self._digests is None:
            self._receive_list(payload, now_s)
            return
        if hashlib.sha256(payload).digest() != self._digests[topic.index]:
            if not self._window.refuse(topic.index, now_s):
                raise DamagedChunkError(f"DamagedChunkError: chunk {topic.index} keeps arriving damaged")
            return
        self._part.write(topic.index, payload)
        self._window.arrived(topic.index, now_s)
        self._link.unsubscribe(self._names([topic.index]))
        self.done += 1
        self.fetched += 1

    def limit(self, rate_bytes_s: int | None) -> None:
        """Change the cap of a running download."""
        self._rate_bytes_s = rate_bytes_s
        self._window.limit(rate_bytes_s)

    def link_lost(self) -> None:
        """Start the requests over when the link is back."""
        self._drop_subscriptions()
        self._window.link_lost()

    def stop(self) -> None:
        """Ask for nothing any more."""
        self._drop_subscriptions()

    def _receive_list(self, payload: bytes, now_s: float) -> None:
        try:
            digests = parse_digests(payload, self._blob)
        except TransferError as error:
            if not self._window.refuse(0, now_s):
                raise DamagedChunkError(f"DamagedChunkError: {error}") from error
            return
        self._drop_subscriptions()
        self._part.keep_digests(payload)
        self._have_list(digests)

    def _have_list(self, digests: tuple[bytes, ...]) -> None:
        self._digests = digests
        self._list_repeats = self._window.repeats
        missing = self._part.missing(digests)
        self._window = Window(missing, rate_bytes_s=self._rate_bytes_s)
        self.total = len(digests)
        self.done = self.total - len(missing)

    def _drop_subscriptions(self) -> None:
        if outstanding := sorted(self._window.outstanding):
            self._link.unsubscribe(self._names(outstanding))

    @property
    def _name(self) -> str:
        return self._blob.chunks_sha256 if self._digests is None else self._blob.sha256

    def _names(self, indices: Sequence[int]) -> list[str]:
        return [self._topics.blob(self._name, i) for i in indices]
