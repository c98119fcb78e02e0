"""Updates: the deltas that a release travels as besides its whole bundle. Pure.

Rules:
- a device holds the release that it runs and the one before, so what most devices run, and then what is
  newest, are the bases;
- a delta that saves little is not made (wire/delta.py: `pays`);
- what a delta makes is verified by the digest of the bundle, so a delta needs no trust of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from fleet.releasing import Begin, Built, Packed, quiet
from wire.blob import describe, digest_list
from wire.delta import encode, pays
from wire.messages import DELTA, ModelState, Release

#: Bases of one release: each costs its compression at the push, room on the broker and in the targets.
MOST_BASES: Final = 3


def bases_of(release: Release, here: Sequence[Release], models: Iterable[ModelState] = ()) -> list[Release]:
    """Return the releases, of those `here` (oldest first), from which updates to `release` are made.

    Each is the one that most devices hold (they said so in `models`) of those that hold no base so far, and
    the newest where nobody is left who does. A device holds what it runs and the one before.
    """
    others = [
        other
        for other in here
        if other.manifest.model == release.manifest.model and other.bundle_sha256 != release.bundle_sha256
    ]
    without = [{m.current, m.previous} for m in models if m.model == release.manifest.model]
    bases: list[Release] = []
    while others and len(bases) < MOST_BASES:
        age = {other.name: i for i, other in enumerate(others)}
        best = max(others, key=lambda o: (sum(o.name in held for held in without), age[o.name]))
        bases.append(best)
        others.remove(best)
        without = [held for held in without if best.name not in held]
    return bases


def with_updates(
    built: Built, bundle: bytes, bases: Iterable[tuple[Release, bytes]], begin: Begin = quiet
) -> Built:
    """Add the deltas from `bases` (each with its bundle) to the release of `bundle` where they pay."""
    whole = built.release.blobs[0]
    updates = []
    for base, old in bases:
        delta = encode(old, bundle, begin(f"update from {base.name}"))
        if pays(len(delta), whole.size_bytes):
            blob = replace(describe(delta), encoding=DELTA, base_sha256=base.bundle_sha256)
            updates.append(Packed(blob, delta, digest_list(delta)))
    release = replace(built.release, blobs=(whole, *(packed.blob for packed in updates)))
    return replace(built, release=release, updates=tuple(updates))


def without_updates(release: Release) -> Release:
    """Return the release as one that travels whole only."""
    return replace(release, blobs=release.blobs[:1])


def travels(release: Release, here: Iterable[Release]) -> str:
    """Return what goes over the wire, for people: "40,504 bytes, 1,212 as an update from digits/1"."""
    names = {other.bundle_sha256: other.name for other in here}
    whole, *others = release.blobs
    updates = [
        f"{blob.size_bytes:,} as an update from {names[blob.base_sha256]}"
        for blob in others
        if blob.base_sha256 in names
    ]
    return ", ".join([f"{whole.size_bytes:,} bytes", *updates])
