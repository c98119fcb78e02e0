"""Releases of our own software for tests: what lies here as another version, spoilt where a test says so."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.adapters.wheel_file import read_wheel
from fleet.software_release import make_release
from tests.support.local_fleet import ROOT

_PACKAGES: Final = ("edge", "wire", "launcher", "fleet")
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

#: What the lines of a file become: name of the file to (old text, new text).
Changes = Mapping[str, tuple[str, str]]


def make_wheel(folder: Path, version: str, changes: Changes | None = None, *, ballast: bytes = b"") -> Path:
    """Write a wheel of what lies here as `version`; each of `changes` must find its text.

    `ballast` is in it so that its download takes a while.
    """
    changes = {"edgeflock.py": ('__version__ = "0.1.0"', f'__version__ = "{version}"'), **(changes or {})}
    path = folder / f"edgeflock-{version}-py3-none-any.whl"
    files = [ROOT / "edgeflock.py", *(f for p in _PACKAGES for f in sorted((ROOT / p).rglob("*.py")))]
    metadata = f"Metadata-Version: 2.1\nName: edgeflock\nVersion: {version}\nRequires-Python: >=3.11\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            name, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
            if name in changes:
                old, new = changes[name]
                assert old in text, (name, old)
                text = text.replace(old, new)
            archive.writestr(name, text)
        archive.writestr("edge/ballast.bin", ballast)
        archive.writestr(f"edgeflock-{version}.dist-info/METADATA", metadata)
        archive.writestr(f"edgeflock-{version}.dist-info/WHEEL", _WHEEL)
        archive.writestr(f"edgeflock-{version}.dist-info/RECORD", "")
    return path


def make_software(
    folder: Path, version: str, changes: Changes | None = None, *, ballast: bytes = b""
) -> Path:
    """Write a release of what lies here as `version`, as `make_wheel` does."""
    path = folder / f"software-{version}.bundle"
    path.write_bytes(make_release([read_wheel(make_wheel(folder, version, changes, ballast=ballast))]))
    return path
