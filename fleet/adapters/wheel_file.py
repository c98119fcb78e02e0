"""Reads a wheel (PEP 427): its name, what it is for, and its files as an installer would lay them down."""

from __future__ import annotations

import email
import re
import zipfile
from email.message import Message
from pathlib import Path

from fleet.software_release import Wheel
from wire.bundle import ZIP_ERRORS
from wire.errors import BundleError


def read_wheel(path: Path) -> Wheel:
    """Read a wheel; raise BundleError for a file that is none, or that must be installed by an installer."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}
    except ZIP_ERRORS as error:
        raise BundleError(f"{path}: {getattr(error, 'strerror', None) or 'is no wheel'}") from error
    infos = {name.partition("/")[0] for name in files if re.fullmatch(r"[^/]+\.dist-info/WHEEL", name)}
    if len(infos) != 1 or f"{(info := infos.pop())}/METADATA" not in files:
        raise BundleError(f"{path} is no wheel: it lacks its METADATA")
    metadata, about = _headers(files[f"{info}/METADATA"]), _headers(files[f"{info}/WHEEL"])
    if not metadata["Name"] or not metadata["Version"]:
        raise BundleError(f"{path} does not say what it is")
    name = re.sub(r"[-_.]+", "-", str(metadata["Name"])).lower()
    kept = {name: data for name, data in files.items() if not _by_an_installer(name)}
    tags = tuple(str(tag) for tag in about.get_all("Tag") or ())
    if not tags or not all(re.fullmatch(r"[^-]+-[^-]+-[^-]+", tag) for tag in tags):
        raise BundleError(f"{path} does not say what it is for")
    return Wheel(name, str(metadata["Version"]), str(metadata["Requires-Python"] or ""), tags, kept)


def _by_an_installer(name: str) -> bool:
    """Return whether a file is of no use in a folder that Python imports from: scripts, headers, data."""
    return re.match(r"[^/]+\.data/", name) is not None or name.endswith((".pth", "/RECORD"))


def _headers(text: bytes) -> Message:
    return email.message_from_bytes(text)
