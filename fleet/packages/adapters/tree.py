"""The files of the Debian package in a folder: unpacked from wheels, without what a device does not need."""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from fleet.packages import debian
from fleet.packages.targets import Target
from wire.errors import UnavailableError


def unpack(wheel: Path, root: Path, target: Target) -> None:
    """Unpack a wheel where the target's environment has it. Commands and data are left out: it has ours."""
    site = debian.site_packages(target)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            place = None if name.endswith("/") else _place(PurePosixPath(name), site)
            if place is None:
                continue
            if ".." in place.parts or place.is_absolute():
                raise UnavailableError(f"{wheel.name} would write outside of its folder: {name}")
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))


def _place(name: PurePosixPath, site: PurePosixPath) -> PurePosixPath | None:
    if not name.parts[0].endswith(".data"):
        return None if debian.left_out(name) else site / name
    kind, rest = name.parts[1], PurePosixPath(*name.parts[2:])
    if kind not in ("purelib", "platlib") or debian.left_out(rest):
        return None
    return site / rest


def write(
    root: Path, files: Mapping[PurePosixPath, debian.Script], links: Mapping[PurePosixPath, str]
) -> None:
    """Write files and links below `root`."""
    for place, script in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script.text, encoding="utf-8")
        path.chmod(0o755 if script.executable else 0o644)
    for place, to in links.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).symlink_to(to)


def copy_units(source: Path, root: Path) -> None:
    """Copy services and their drop-ins."""
    shutil.copytree(source, root / debian.UNITS, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md"))


def compile_for(root: Path, target: Target) -> bool:
    """Write the byte code, if this Python writes what the target's reads; return whether it did.

    Not checked against the sources: they are the package's, and time stamps would make it irreproducible.
    """
    if sys.version_info[:2] != target.python or sys.implementation.name != "cpython":
        return False
    compileall.compile_dir(
        root / debian.site_packages(target),
        quiet=2,  # a file for a newer Python, such as a template, is no failure of ours
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return True


def settle(root: Path, epoch: int) -> None:
    """Give everything below `root` the modes and times of a package, whoever builds it and when."""
    for path in [*root.rglob("*"), root]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def contents(root: Path) -> Iterable[tuple[str, bytes]]:
    """Yield every file of the package by its name in it."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not path.is_symlink() and name.parts[0] != "DEBIAN":
            yield str(name), path.read_bytes()
