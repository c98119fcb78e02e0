"""A broker in memory with releases on it, as a publisher would leave them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace

from fleet.publishing import Publisher, Standing, publications
from fleet.releasing import Built, Packed
from fleet.updates import with_updates
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
    updates: tuple[Packed, ...] = ()

    @property
    def built(self) -> Built:
        return Built(self.release, self.blob, self.digests, self.updates)

    @property
    def plan(self) -> Plan:
        return Plan(
            int(self.release.name[-1]),
            "all",
            self.release.manifest.model,
            self.release.name,
            self.release.bundle_sha256,
        )


def make_goods(version: int, size_bytes: int = 300_000, model: str = "digits") -> Goods:
    """Return a release of incompressible bytes; what is in a bundle does not matter to its transfer."""
    seed = version if model == "digits" else f"{model}/{version}"
    bundle = random.Random(seed).randbytes(size_bytes)
    blob = compress(bundle)
    release = Release(
        f"{model}/{version}",
        hashlib.sha256(bundle).hexdigest(),
        len(bundle),
        (describe(blob),),
        replace(MANIFEST, model=model, version=str(version)),
    )
    return Goods(release, bundle, blob, digest_list(blob))


def make_successor(version: int, *bases: Goods, changed_bytes: int = 30) -> Goods:
    """Return a release that differs from the first of `bases` by little, with an update from each of them."""
    bundle = bytearray(bases[0].bundle)
    bundle[1000 : 1000 + changed_bytes] = random.Random(version).randbytes(changed_bytes)
    blob = compress(bytes(bundle))
    release = Release(
        f"digits/{version}",
        hashlib.sha256(bundle).hexdigest(),
        len(bundle),
        (describe(blob),),
        replace(MANIFEST, version=str(version)),
    )
    built = with_updates(
        Built(release, blob, digest_list(blob)), bytes(bundle), [(b.release, b.bundle) for b in bases]
    )
    return Goods(built.release, bytes(bundle), blob, built.digests, built.updates)


def put_on_broker(broker: MemoryBroker, goods: list[Goods], plans: list[Plan], devices: list[str]) -> None:
    """Publish releases and plans as the server does, with the server's own publisher."""
    by_digest = {g.release.blobs[0].sha256: g.blob for g in goods}
    by_digest |= {g.release.blobs[0].chunks_sha256: g.digests for g in goods}
    for packed in (packed for g in goods for packed in g.updates):
        by_digest |= {packed.blob.sha256: packed.data, packed.blob.chunks_sha256: packed.digests}
    standing = Standing(
        Targets(len(goods), tuple(g.release for g in goods)),
        tuple(plans),
        {d: Desired(1, ("all",), device=d) for d in devices},
    )
    link = broker.link()
    link.start()
    wanted = publications(standing, TOPICS, lambda sha256, a, b: by_digest[sha256][a:b])
    assert Publisher(link).pump(wanted)
    link.close()
