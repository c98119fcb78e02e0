"""A release of our own software: a zip of packages as they lie in an environment, with a manifest.

    manifest.json    wire.manifest.Manifest, in which `software` says what it needs
    edge/…, wire/…   files of ours, and of packages that it brings along

It travels as a bundle does, under the name SOFTWARE, which no model may have. Nothing in it is packed: the
blob around it is, which is smaller, and differences from the last release show.

Rules:
- a name is a plain relative path: no `..`, nothing hidden, no link, no folder, none twice or below another;
- sizes are those of the zip's directory, and together no more than the file: no bomb is possible;
- nothing in it may go by the name of a module of Python's own library: it would be imported instead;
- whoever breaks a rule is a BundleError of one line, before the first file is written.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO, Final

from wire.bundle import EPOCH, MANIFEST, ZIP_ERRORS
from wire.codec import decode, encode
from wire.errors import BundleError, MessageError
from wire.manifest import Manifest

#: The model by whose name software travels.
SOFTWARE: Final = "edgeflock-software"

#: The list of what an environment holds (launcher/disk.py); the environment's own, so none may be packed.
SUMS: Final = "SHA256SUMS"

_MAGIC: Final = b"PK\x03\x04"
_MAX_FILES: Final = 20_000
_MAX_MANIFEST_BYTES: Final = 256 * 1024
_LONGEST_NAME: Final = 240
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+=@-]*/){0,15}[A-Za-z0-9_][A-Za-z0-9_.+=@-]*")


def is_software(start: bytes) -> bool:
    """Return whether a file that starts so is a release of software: a bundle starts with its model."""
    return start[: len(_MAGIC)] == _MAGIC


def pack(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """Return the file's bytes; the same files always pack to the same. Raises BundleError."""
    _check_names(list(files))
    listed = listing({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    manifest = replace(
        manifest,
        tflite_sha256=hashlib.sha256(listed).hexdigest(),
        tflite_bytes=sum(map(len, files.values())),
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [(MANIFEST, encode(manifest)), *sorted(files.items())]:
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data, zipfile.ZIP_STORED)
    return out.getvalue()


def listing(digests: Mapping[str, str]) -> bytes:
    """Return files and their SHA-256 as sha256sum(1) writes and checks them."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def inspect(file: BinaryIO, *, name: str = "software") -> Manifest:
    """Check a release of software as a whole and return its manifest; raise BundleError, which says what
    is wrong with `name`."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive, name)
            manifest = _manifest(archive, entries, name)
            digests = {info.filename: _sha256(archive, info) for info in entries[1:]}
    except ZIP_ERRORS as error:
        raise BundleError(f"{name} is damaged: {error}") from error
    if hashlib.sha256(listing(digests)).hexdigest() != manifest.tflite_sha256:
        raise BundleError(f"{name} is damaged: its files are not those that its manifest describes")
    return manifest


def unpacked(file: BinaryIO, *, name: str = "software") -> Iterator[tuple[str, bytes]]:
    """Yield each file's name and content; raise BundleError. `inspect` it first."""
    try:
        with zipfile.ZipFile(file) as archive:
            for info in _entries(archive, name)[1:]:
                yield info.filename, archive.read(info)
    except ZIP_ERRORS as error:
        raise BundleError(f"{name} is damaged: {error}") from error


def _entries(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """Return the manifest's entry and then the others, if all of them may be here."""
    entries = sorted(archive.infolist(), key=lambda info: (info.filename != MANIFEST, info.filename))
    if not entries or entries[0].filename != MANIFEST:
        raise BundleError(f"{name} lacks {MANIFEST}: make it with `edgeflock fleet pack-software`")
    if sum(info.file_size for info in entries) > archive.start_dir:
        raise BundleError(f"{name} has files that are larger than it is")
    for info in entries:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or kind not in (0, stat.S_IFREG):
            raise BundleError(f"{name}: {_shown(info.filename)} is no plain file")
    try:
        _check_names([info.filename for info in entries[1:]])
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from None
    return entries


def _check_names(names: list[str]) -> None:
    if len(names) > _MAX_FILES:
        raise BundleError(f"{len(names)} files, at most {_MAX_FILES}")
    known = set(names)
    if len(known) != len(names) or MANIFEST in known:
        raise BundleError("a file is there twice")
    for name in names:
        parts = name.split("/")
        folders = {"/".join(parts[:i]) for i in range(1, len(parts))}
        if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name) or name == SUMS or folders & known:
            raise BundleError(f"{_shown(name)} is no name that a file may have")
        module = parts[0].partition(".")[0]  # json/, json.py, json.abi3.so
        if module in sys.stdlib_module_names:
            raise BundleError(f"{_shown(name)} would stand in for Python's own {module}")


def _manifest(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], name: str) -> Manifest:
    if entries[0].file_size > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{name}: {MANIFEST} is larger than {_MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = decode(Manifest, archive.read(entries[0]))
    except MessageError as error:
        raise BundleError(f"{name}: {error}") from error
    if manifest.model != SOFTWARE or manifest.software is None:
        raise BundleError(f"{name} is no release of software: its manifest describes {manifest.model}")
    if manifest.tflite_bytes != sum(info.file_size for info in entries[1:]):
        raise BundleError(f"{name} is damaged: its files do not have the size that its manifest says")
    return manifest


def _sha256(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    with archive.open(info) as entry:
        return hashlib.file_digest(entry, "sha256").hexdigest()  # type: ignore[arg-type]  # it has read()


def _shown(name: str) -> str:
    """Return a name fit for one line of a log: it is anyone's."""
    return ascii(name[:80])
