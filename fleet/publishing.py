"""What should stand on the broker, and in which order it is put there.

Rules:
- the registry says what should be; the publisher compares it with what it put on the broker over
  this connection and sends the difference;
- chunks first, then the targets that name them, then the plans that name the targets: whoever sees
  a plan can fetch all of it;
- a broker may come back without what it had not saved, so a new connection begins with nothing
  taken for granted.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from fleet.releasing import seal
from wire.blob import CHUNK_BYTES, chunk_count
from wire.codec import encode
from wire.errors import MessageError
from wire.link import Link
from wire.messages import Ack, Desired, Plan, Release, Targets
from wire.topics import Topics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """What should stand on the broker now, besides acknowledgements. `desired` is by device name."""

    targets: Targets
    plans: tuple[Plan, ...]
    desired: dict[str, Desired]


@dataclass(frozen=True)
class Publication:
    """One retained message; `mark` changes when its content does, `load` reads it when it is due."""

    topic: str
    mark: str
    load: Callable[[], bytes]


#: Reads bytes `start` to `stop` of a blob of the registry.
ReadBlob = Callable[[str, int, int], bytes]


def publications(standing: Standing, topics: Topics, read_blob: ReadBlob) -> Iterator[Publication]:
    """Yield everything that should be retained, in the order in which it must appear."""
    for release in standing.targets.releases:
        yield from _chunks(release, topics, read_blob)
    yield _message(topics.meta("targets.json"), encode(standing.targets))
    for device, desired in standing.desired.items():
        yield _message(topics.device(device, "desired"), seal(desired))
    for plan in standing.plans:
        yield _message(topics.plan(plan.group, plan.model), seal(plan))


def withdrawals(releases: Iterable[Release], topics: Topics) -> Iterator[Publication]:
    """Yield the empty messages that take the chunks of old releases off the broker."""
    for release in releases:
        for publication in _chunks(release, topics, lambda *_: b""):
            yield replace(publication, mark="withdrawn", load=lambda: b"")


def acknowledgements(acks: dict[str, Ack], topics: Topics) -> Iterator[Publication]:
    """Yield the retained acknowledgement of each device in `acks`."""
    for device, ack in acks.items():
        yield _message(topics.device(device, "ack"), encode(ack))


def _chunks(release: Release, topics: Topics, read_blob: ReadBlob) -> Iterator[Publication]:
    for blob in release.blobs:
        yield Publication(
            topics.blob(blob.chunks_sha256, 0), blob.chunks_sha256, _reader(read_blob, blob.chunks_sha256, 0)
        )
        for i in range(chunk_count(blob.size_bytes)):
            yield Publication(topics.blob(blob.sha256, i), blob.sha256, _reader(read_blob, blob.sha256, i))


def _reader(read_blob: ReadBlob, sha256: str, index: int) -> Callable[[], bytes]:
    return lambda: read_blob(sha256, index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)


def _message(topic: str, payload: bytes) -> Publication:
    return Publication(topic, hashlib.sha256(payload).hexdigest(), lambda: payload)


class Publisher:
    """Sends what is due, as much as the link takes at a time."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._standing: dict[str, str] = {}

    def reconnected(self) -> None:
        """Take nothing for granted that an earlier connection published."""
        self._standing.clear()

    def pump(self, wanted: Iterable[Publication]) -> bool:
        """Publish what differs; return whether all of `wanted` is handed over now."""
        for publication in wanted:
            if self._standing.get(publication.topic) == publication.mark:
                continue
            try:
                if not self._link.publish(publication.topic, publication.load(), retain=True):
                    return False
            except MessageError as error:  # no broker takes it, now or later
                log.error("not published: %s", error)
            self._standing[publication.topic] = publication.mark
        return True
