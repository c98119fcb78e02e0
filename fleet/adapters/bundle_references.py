"""What the bundles of releases say that their models were made for: read once each, from the blobs here.

A bundle is unpacked for it, which takes as long as its xz (tens of MB/s), so what was found is kept for as
long as the release is asked for. Where a blob is missing or damaged there is none, and it is tried again
after `_AGAIN_S`: a push of the same bundle mends it.
"""

from __future__ import annotations

import io
import logging
from typing import Final

from fleet.adapters.registry import Registry
from fleet.binned import Reference
from wire import reference
from wire.bundle import inspect
from wire.errors import BundleError, TransferError
from wire.messages import Release

log = logging.getLogger(__name__)

_AGAIN_S: Final = 3600.0


class BundleReferences:
    """The references, by release."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._found: dict[str, Reference | None] = {}
        self._failed_s: dict[str, float] = {}

    def of(self, release: Release, now_s: float) -> Reference | None:
        """Return what a release's bundle holds; None for nothing, and for what cannot be read now."""
        if release.manifest.software is not None:
            return None
        if release.name in self._found:
            return self._found[release.name]
        if now_s - self._failed_s.get(release.name, -_AGAIN_S) < _AGAIN_S:
            return None
        try:
            data = self._registry.read_bundle(release)
            self._found[release.name] = _counts(inspect(io.BytesIO(data), name=release.name).reference)
        except (BundleError, TransferError, OSError) as error:
            log.warning("no reference of %s for drift: %s", release.name, error)
            self._failed_s[release.name] = now_s
        return self._found.get(release.name)

    def keep(self, names: frozenset[str]) -> None:
        """Forget what was found of other releases than these."""
        self._found = {name: found for name, found in self._found.items() if name in names}
        self._failed_s = {name: at_s for name, at_s in self._failed_s.items() if name in names}


def _counts(said: reference.Reference | None) -> Reference | None:
    """Return what can be compared; None where nothing was counted."""
    if said is None:
        return None
    features = {feature.name: feature.counts for feature in said.features if any(feature.counts)}
    confidence = said.confidence if any(said.confidence) else ()
    if not (features or confidence or any(said.predicted.counts)):
        return None
    return Reference(features, confidence, said.predicted)
