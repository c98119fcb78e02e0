"""Which of a release's blobs a device fetches: the whole bundle, or the differences from one that it has.

Rules:
- the first blob is the whole bundle, which any device can use; of the others, those of an encoding that is
  not known here are passed over;
- differences are worth fetching only from a bundle that is whole here, which the caller finds out;
- differences that once made something else than was signed are not fetched again. That says nothing about
  the release, nor about the bundle that serves.
"""

from __future__ import annotations

from wire.messages import DELTA, Blob, Release


def choose_blob(release: Release, bases: frozenset[str], failed: frozenset[str]) -> Blob:
    """Return the smallest blob that can be used with the bundles `bases` and is none of `failed`."""
    whole = release.blobs[0]
    updates = [
        blob
        for blob in release.blobs[1:]
        if blob.encoding == DELTA and blob.base_sha256 in bases and blob.sha256 not in failed
    ]
    return min((whole, *updates), key=lambda blob: blob.size_bytes)
