"""From a bundle file to a release: what will be published, computed without publishing it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.release_words import ReleaseWords, words_of
from wire.blob import Told, compress, describe, digest_list
from wire.bundle import unpack
from wire.codec import encode
from wire.errors import SettingsError
from wire.messages import MAX_PAYLOAD_BYTES, Blob, Envelope, Release
from wire.targets import payload_type

#: What to do when a fleet has too many models: nothing takes one out of it.
FULL: Final = "take back pins that are not needed, and use another fleet (--state) for further models"

#: Begins a step of the work under a name for people; what it returns hears how far the step is.
Begin = Callable[[str], Told]


@dataclass(frozen=True)
class Packed:
    """A blob, its bytes, and the list of its chunk digests."""

    blob: Blob
    data: bytes
    digests: bytes


@dataclass(frozen=True)
class Built:
    """A release and the bytes that travel: the compressed bundle, the list of its chunk digests, and what
    it travels as from one bundle or another (fleet/updates.py); besides, what it calls its classes."""

    release: Release
    blob: bytes
    digests: bytes
    updates: tuple[Packed, ...] = ()
    words: ReleaseWords = field(default_factory=ReleaseWords)

    @property
    def description(self) -> Blob:
        return self.release.blobs[0]


def quiet(_step: str) -> Told:
    """Begin a step that nobody watches."""
    return lambda _done, _total: None


def build(data: bytes, *, name: str, begin: Begin = quiet) -> Built:
    """Check the bundle `data` and make a release of it; raise BundleError when it is none."""
    bundle = unpack(data, name=name)
    blob = compress(data, begin(f"packing {bundle.manifest.model}/{bundle.manifest.version}"))
    release = Release(
        name=f"{bundle.manifest.model}/{bundle.manifest.version}",
        bundle_sha256=hashlib.sha256(data).hexdigest(),
        bundle_bytes=len(data),
        blobs=(describe(blob),),
        manifest=bundle.manifest,
    )
    return Built(release, blob, digest_list(blob), words=words_of(bundle))


def counted(names: Iterable[str]) -> str:
    """Return how many releases and models these names are of, for people."""
    names = list(names)
    models = {name.partition("/")[0] for name in names}
    return f"{len(names)} releases of {len(models)} models"


def check_fits(what: str, payload: bytes, advice: str) -> None:
    """Raise SettingsError for what no message can carry."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SettingsError(
            f"{what} would have {len(payload):,} bytes, a message takes {MAX_PAYLOAD_BYTES:,}: {advice}"
        )


def seal(message: Any) -> bytes:
    """Return `message` inside an envelope without a signature, for a fleet that has no keys."""
    payload = base64.b64encode(encode(message)).decode()
    return encode(Envelope(payload_type(type(message).__name__.lower()), payload))
