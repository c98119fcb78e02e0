"""Updates: the deltas that a release travels as besides its whole bundle. Pure.

Rules:
- a device holds the release that it runs and the one before, so the newest few releases are the bases;
- a delta that saves little is not made (wire/delta.py: `pays`);
- what a delta makes is verified by the digest of the bundle, so a delta needs no trust of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from fleet.releasing import Built, Packed
from wire.blob import describe, digest_list
from wire.delta import encode, pays
from wire.messages import DELTA, Release, Targets

#: Bases of one release: what serves, what served before, and one for devices that were off meanwhile.
MOST_BASES: Final = 3


def bases_of(release: Release, targets: Targets) -> list[Release]:
    """Return the releases whose bundles devices may hold when `release` comes, newest first."""
    others = [
        other
        for other in reversed(targets.releases)
        if other.manifest.model == release.manifest.model and other.bundle_sha256 != release.bundle_sha256
    ]
    return others[:MOST_BASES]


def with_updates(built: Built, bundle: bytes, bases: Iterable[tuple[Release, bytes]]) -> Built:
    """Add the deltas from `bases` (each with its bundle) to the release of `bundle` where they pay."""
    whole = built.release.blobs[0]
    updates = []
    for base, old in bases:
        delta = encode(old, bundle)
        if pays(len(delta), whole.size_bytes):
            blob = replace(describe(delta), encoding=DELTA, base_sha256=base.bundle_sha256)
            updates.append(Packed(blob, delta, digest_list(delta)))
    release = replace(built.release, blobs=(whole, *(packed.blob for packed in updates)))
    return replace(built, release=release, updates=tuple(updates))


def travels(release: Release, targets: Targets) -> str:
    """Return what goes over the wire, for people: "40,504 bytes, 1,212 as an update from digits/1"."""
    names = {other.bundle_sha256: other.name for other in targets.releases}
    whole, *others = release.blobs
    updates = [
        f"{blob.size_bytes:,} as an update from {names[blob.base_sha256]}"
        for blob in others
        if blob.base_sha256 in names
    ]
    return ", ".join([f"{whole.size_bytes:,} bytes", *updates])
