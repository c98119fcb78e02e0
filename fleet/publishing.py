"""What should stand on the broker, and in which order it is put there.

Rules:
- the registry says what should be; the publisher compares it with what it put on the broker over
  this connection and sends the difference;
- chunks first, then the metadata that names them (roots, targets, snapshot, and last the timestamp),
  then the plans that name the targets: whoever sees a plan can fetch all of it;
- a broker may come back without what it had not saved, so over a new connection what is small is
  published again, and chunks are in doubt until an audit (fleet/auditing.py) has seen them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fleet.releasing import seal
from wire.blob import CHUNK_BYTES, chunk_count
from wire.codec import encode
from wire.errors import MessageError
from wire.link import Link
from wire.messages import Desired, Plan, Release, Targets
from wire.topics import RETAINED, Topics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """What should stand on the broker now, besides acknowledgements. `desired` is by device name.

    `metadata` are the signed files in their order, empty ones to be taken off; a fleet without keys has none.
    """

    targets: Targets
    plans: tuple[Plan, ...]
    desired: dict[str, Desired]
    metadata: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Publication:
    """One retained message; `mark` changes when its content does, `load` reads it when it is due.

    A `chunk` is worth asking for before it is sent again.
    """

    topic: str
    mark: str
    load: Callable[[], bytes]
    chunk: bool = False


#: Reads bytes `start` to `stop` of a blob of the registry.
ReadBlob = Callable[[str, int, int], bytes]


def publications(
    standing: Standing, topics: Topics, read_blob: ReadBlob, seal: Callable[[Any], bytes] = seal
) -> Iterator[Publication]:
    """Yield everything that should be retained, in the order in which it must appear."""
    for release in standing.targets.releases:
        yield from _chunks(release, topics, read_blob)
    for file, data in standing.metadata:
        yield message(topics.meta(file), data)
    if not standing.metadata:
        yield message(topics.meta("targets.json"), encode(standing.targets))
    for device, desired in standing.desired.items():
        yield message(topics.device(device, "desired"), seal(desired))
    for plan in standing.plans:
        yield message(topics.plan(plan.group, plan.model), seal(plan))


def withdrawals(releases: Iterable[Release], topics: Topics) -> Iterator[Publication]:
    """Yield the empty messages that take the chunks of old releases off the broker."""
    for release in releases:
        for publication in _chunks(release, topics, lambda *_: b""):
            yield replace(publication, mark="withdrawn", load=lambda: b"", chunk=False)


def farewells(
    devices: Iterable[str], topics: Topics, elsewhere: Callable[[str], Iterable[str]] = lambda _: ()
) -> Iterator[Publication]:
    """Yield the empty messages that take what stands of removed devices off the broker.

    `elsewhere` tells the topics of a device that are not of the protocol.
    """
    for device in devices:
        for topic in (*(topics.device(device, leaf) for leaf in RETAINED), *elsewhere(device)):
            yield message(topic, b"")


def _chunks(release: Release, topics: Topics, read_blob: ReadBlob) -> Iterator[Publication]:
    for blob in release.blobs:
        yield _chunk(topics, read_blob, blob.chunks_sha256, 0)
        for i in range(chunk_count(blob.size_bytes)):
            yield _chunk(topics, read_blob, blob.sha256, i)


def _chunk(topics: Topics, read_blob: ReadBlob, sha256: str, index: int) -> Publication:
    return Publication(topics.blob(sha256, index), sha256, _reader(read_blob, sha256, index), chunk=True)


def _reader(read_blob: ReadBlob, sha256: str, index: int) -> Callable[[], bytes]:
    return lambda: read_blob(sha256, index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)


def message(topic: str, payload: bytes) -> Publication:
    """Return what has `payload` stand on `topic`; nothing where it is empty."""
    return Publication(topic, hashlib.sha256(payload).hexdigest(), lambda: payload)


class Publisher:
    """Sends what is due, as much as the link takes at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._standing: dict[str, Publication] = {}
        self._doubted: dict[str, Publication] = {}

    def reconnected(self) -> None:
        """Take nothing of an earlier connection for granted: chunks are in doubt, the rest is due."""
        self.doubt_all()
        self._standing.clear()

    def doubt_all(self) -> None:
        """Have all chunks that stand looked at again."""
        self.doubt(self._standing.values())

    def doubt(self, publications: Iterable[Publication]) -> None:
        """Do not send these chunks before it is known that the broker lacks them."""
        for publication in [p for p in publications if p.chunk]:
            self._standing.pop(publication.topic, None)
            self._doubted[publication.topic] = publication

    def doubts(self, publication: Publication) -> bool:
        """Return whether it is not known if this stands on the broker."""
        doubted = self._doubted.get(publication.topic)
        return doubted is not None and doubted.mark == publication.mark

    def stands(self, publication: Publication) -> None:
        """Take note that the broker holds this."""
        if self.doubts(publication):
            self._standing[publication.topic] = self._doubted.pop(publication.topic)

    def lacks(self, publication: Publication) -> None:
        """Take note that the broker does not hold this, or not as it should be."""
        if self.doubts(publication):
            del self._doubted[publication.topic]

    def pump(self, wanted: Iterable[Publication]) -> bool:
        """Publish what differs; return whether all of `wanted` is handed over now, or in doubt."""
        for publication in wanted:
            standing = self._standing.get(publication.topic)
            if (standing is not None and standing.mark == publication.mark) or self.doubts(publication):
                continue
            try:
                if not self._link.publish(publication.topic, publication.load(), retain=True):
                    return False
            except MessageError as error:  # no broker takes it, now or later
                log.error("not published: %s", error)
            self._doubted.pop(publication.topic, None)
            self._standing[publication.topic] = publication
        return True
