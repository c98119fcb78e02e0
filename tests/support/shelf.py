"""A broker in memory with releases on it, as a publisher would leave them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace

from fleet.publishing import Publisher, Standing, publications
from tests.support.examples import MANIFEST
from wire.blob import compress, describe, digest_list
from wire.memory_link import MemoryBroker
from wire.messages import Desired, Plan, Release, Targets
from wire.topics import Topics

TOPICS = Topics()


@dataclass(frozen=True)
class Goods:
    """A release with the bytes behind it."""

    release: Release
    bundle: bytes
    blob: bytes
    digests: bytes

    @property
    def plan(self) -> Plan:
        return Plan(
            int(self.release.name[-1]), "all", "digits", self.release.name, self.release.bundle_sha256
        )


def make_goods(version: int, size_bytes: int = 300_000) -> Goods:
    """Return a release of incompressible bytes; what is in a bundle does not matter to its transfer."""
    bundle = random.Random(version).randbytes(size_bytes)
    blob = compress(bundle)
    release = Release(
        f"digits/{version}",
        hashlib.sha256(bundle).hexdigest(),
        len(bundle),
        (describe(blob),),
        replace(MANIFEST, version=str(version)),
    )
    return Goods(release, bundle, blob, digest_list(blob))


def put_on_broker(broker: MemoryBroker, goods: list[Goods], plans: list[Plan], devices: list[str]) -> None:
    """Publish releases and plans as the server does, with the server's own publisher."""
    by_digest = {g.release.blobs[0].sha256: g.blob for g in goods}
    by_digest |= {g.release.blobs[0].chunks_sha256: g.digests for g in goods}
    standing = Standing(
        Targets(len(goods), tuple(g.release for g in goods)),
        tuple(plans),
        {d: Desired(1, ("all",)) for d in devices},
    )
    link = broker.link()
    link.start()
    wanted = publications(standing, TOPICS, lambda sha256, a, b: by_digest[sha256][a:b])
    assert Publisher(link).pump(wanted)
    link.close()
