"""From a bundle file to a release: what will be published, computed without publishing it."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.release_words import ReleaseWords, words_of
from wire.blob import Told, compress, describe, digest_list
from wire.bundle import Bundle, unpack
from wire.codec import encode
from wire.errors import BundleError, SettingsError
from wire.messages import MAX_PAYLOAD_BYTES, Blob, Envelope, Release
from wire.protocol import OLDEST, VERSION
from wire.software import SOFTWARE, inspect, is_software
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
    bundle = read_release(data, name=name)
    manifest = bundle.manifest
    blob = compress(data, begin(f"packing {manifest.model}/{manifest.version}"))
    release = Release(
        name=f"{manifest.model}/{manifest.version}",
        bundle_sha256=hashlib.sha256(data).hexdigest(),
        bundle_bytes=len(data),
        blobs=(describe(blob),),
        manifest=manifest,
    )
    return Built(release, blob, digest_list(blob), words=words_of(bundle))


def read_release(data: bytes, *, name: str) -> Bundle:
    """Check a bundle, or a release of software, which has a manifest alone; raise BundleError."""
    if not is_software(data):
        bundle = unpack(data, name=name)
        if bundle.manifest.model == SOFTWARE:
            raise BundleError(f"{name} is a model by the name of {SOFTWARE}: convert it with another --name")
        return bundle
    manifest = inspect(io.BytesIO(data), name=name)
    software = manifest.software
    assert software is not None, "inspect refuses it"
    if software.protocol < OLDEST or software.protocol_from > VERSION:
        raise BundleError(
            f"{name} speaks the protocol {software.protocol_from} to {software.protocol}, "
            f"this server {OLDEST} to {VERSION}: update the server first"
        )
    return Bundle(manifest, b"", (), b"")


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
