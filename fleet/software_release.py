"""From wheels to a release of software: which files travel, and what a board must be. Pure.

Rules:
- one of the wheels is ours; the others are packages that this version needs newer than boards have them.
  What a board has already stays as it is: the release lies over it;
- of ours, what only workstations and servers import stays at home;
- a board must suit every wheel: the Pythons and machines that all of them are for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wire.errors import BundleError
from wire.manifest import MACHINES, Golden, Manifest, Software
from wire.software import SOFTWARE, pack
from wire.topics import NAME

OURS: Final = "edgeflock"

#: Ours, for workstation and server.
AT_HOME: Final = ("converter/", "fleet/", "demo/")
_PROTOCOL: Final = "wire/protocol.py"

Version = tuple[int, int]


@dataclass(frozen=True)
class Wheel:
    """A wheel that was read; `tags` say what it is for (`cp311-cp311-linux_armv7l`)."""

    name: str
    version: str
    requires_python: str
    tags: tuple[str, ...]
    files: Mapping[str, bytes]


def make_release(wheels: Iterable[Wheel]) -> bytes:
    """Return the release of these wheels; raise BundleError for what cannot be one."""
    wheels = list(wheels)
    ours = [wheel for wheel in wheels if wheel.name == OURS]
    if len(ours) != 1:
        raise BundleError(f"one of the wheels must be {OURS}'s, and only one: there are {len(ours)}")
    (own,) = ours
    if not NAME.fullmatch(own.version):
        raise BundleError(f"version {own.version} can be no release's: letters, digits, '.', '_' and '-' can")
    source = own.files.get(_PROTOCOL, b"").decode(errors="replace")
    manifest = Manifest(
        model=SOFTWARE,
        version=own.version,
        recipe="software",
        tflite_sha256="",
        tflite_bytes=0,
        inputs=(),
        outputs=(),
        golden=Golden(0, 0.0),
        machines=_machines(wheels),
        software=Software(
            python_from=_text(max(_first(wheel) for wheel in wheels)),
            python_below=_text(min((end for w in wheels if (end := _end(w))), default=None)),
            protocol=_constant(source, "VERSION"),
            protocol_from=_constant(source, "OLDEST"),
            packages={wheel.name: wheel.version for wheel in wheels},
        ),
    )
    return pack(manifest, _files(wheels))


def _files(wheels: Iterable[Wheel]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for wheel in wheels:
        mine = {n: d for n, d in wheel.files.items() if wheel.name != OURS or not n.startswith(AT_HOME)}
        if twice := sorted(files.keys() & mine.keys()):
            raise BundleError(f"{wheel.name} and another wheel both have {twice[0]}")
        files |= mine
    return files


def _constant(source: str, name: str) -> int:
    found = re.search(rf"^{name}: Final = (\d+)$", source, re.MULTILINE)
    if found is None:
        raise BundleError(f"{OURS}'s wheel is too old: it does not say in {_PROTOCOL} what it speaks")
    return int(found[1])


def _machines(wheels: Iterable[Wheel]) -> tuple[str, ...]:
    """Return the boards that all wheels are for; none for all of them."""
    kept: set[str] | None = None
    for wheel in wheels:
        platforms = {tag.split("-")[2] for tag in wheel.tags}
        if "any" in platforms:
            continue
        named = {machine for machine in MACHINES for platform in platforms if _is_for(platform, machine)}
        kept = named if kept is None else kept & named
        if not kept:
            raise BundleError(f"{wheel.name} is for {', '.join(sorted(platforms))}, which suits no board")
    return tuple(sorted(kept)) if kept else ()


def _is_for(platform: str, machine: str) -> bool:
    return platform.endswith(f"_{machine}") and platform.startswith(("manylinux", "linux_"))


def _first(wheel: Wheel) -> Version:
    """Return the first Python that a wheel is for."""
    required = re.search(r">=\s*(\d+)\.(\d+)", wheel.requires_python)
    wanted = [(int(required[1]), int(required[2]))] if required else [(3, 0)]
    wanted += [version for tag in wheel.tags if (version := _built_for(tag))]
    return max(wanted)


def _end(wheel: Wheel) -> Version | None:
    """Return the first Python that a wheel is not for: compiled parts without a stable ABI fit just one."""
    found = re.search(r"<\s*(\d+)\.(\d+)", wheel.requires_python)
    ends = [(int(found[1]), int(found[2]))] if found else []
    exact = [
        version for tag in wheel.tags if tag.split("-")[1].startswith("cp") and (version := _built_for(tag))
    ]
    ends += [(major, minor + 1) for major, minor in exact]
    return min(ends, default=None)


def _built_for(tag: str) -> Version | None:
    """Return the Python of a tag (`cp311-…`, `py3-…`)."""
    found = re.match(r"(?:cp|py)(\d)(\d+)", tag)
    return (int(found[1]), int(found[2])) if found else None


def _text(version: Version | None) -> str:
    return f"{version[0]}.{version[1]}" if version else ""
