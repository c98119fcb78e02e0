"""Images of cards with the layout of Raspberry Pi OS, made without root by the tools that make real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

#: Where Debian has the tools that ordinary users do not call.
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_TOOLS: Final = ("mkfs.vfat", "fsck.vfat", "mcopy", "mdir", "sfdisk")
_MISSING: Final = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]

needs_card_tools = pytest.mark.skipif(
    bool(_MISSING), reason=f"{', '.join(_MISSING)} missing: scripts/ensure-card-tools installs them"
)

MIB: Final = 1 << 20
#: Where Raspberry Pi OS has its boot partition.
BOOT_START: Final = 4 * MIB

STOCK_FILES: Final[Mapping[str, bytes]] = {
    "cmdline.txt": b"console=serial0,115200 console=tty1 root=PARTUUID=1-02 rootwait\n",
    "config.txt": b"dtparam=audio=on\n\n[pi4]\nmax_framebuffers=2\n",
    "overlays/README": b"The overlays.\n",
    "issue.txt": b"Raspberry Pi reference 2026-06-18\nGenerated using pi-gen\n",
    "user-data": b"#cloud-config\n",
}


def tool(*command: str | Path, stdin: str | None = None) -> str:
    """Run a tool for disks; return what it printed, or fail with it."""
    environment = {**os.environ, "PATH": _PATH, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        list(map(str, command)),
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def make_fat(path: Path, *, mib: int, bits: int, sectors_per_cluster: int = 1) -> Path:
    """Make a FAT file system of its own."""
    with path.open("wb") as file:
        file.truncate(mib * MIB)
    tool("mkfs.vfat", "-F", str(bits), "-s", str(sectors_per_cluster), "-n", "bootfs", path)
    return path


def put_files(image: Path, files: Mapping[str, bytes], *, offset: int = 0) -> None:
    """Copy files into a FAT file system with mtools."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        tool("mcopy", "-s", "-o", "-i", f"{image}@@{offset}", *sorted(Path(folder).iterdir()), "::")


def read_files(image: Path, *, offset: int = 0) -> dict[str, bytes]:
    """Return all files of a FAT file system, as mtools reads them."""
    with tempfile.TemporaryDirectory() as folder:
        found = tool("mdir", "-b", "-i", f"{image}@@{offset}", "::")
        if not found.strip():
            return {}
        tool("mcopy", "-s", "-n", "-i", f"{image}@@{offset}", "::*", folder)
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def check_fat(path: Path, *, offset: int = 0, size: int | None = None) -> None:
    """Fail unless fsck.vfat finds nothing to complain of."""
    with tempfile.TemporaryDirectory() as folder:
        alone = path
        if offset:
            alone = Path(folder, "fat")
            with path.open("rb") as image:
                image.seek(offset)
                alone.write_bytes(image.read(-1 if size is None else size))
        said = tool("fsck.vfat", "-n", alone)
        assert "Free cluster summary" not in said, said


def make_image(
    path: Path,
    files: Mapping[str, bytes] = STOCK_FILES,
    *,
    label: str = "dos",
    boot_mib: int = 34,
    root_mib: int = 4,
    bits: int = 32,
) -> Path:
    """Make an image with a boot partition of `files` and a second one of noise."""
    fat = make_fat(path.with_suffix(".fat"), mib=boot_mib, bits=bits)
    put_files(fat, files)
    types = ("c", "83") if label == "dos" else ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "L")
    start = BOOT_START // 512
    with path.open("wb") as file:
        file.truncate(BOOT_START + (boot_mib + root_mib + 1) * MIB)
    script = f"label: {label}\nstart={start}, size={boot_mib * 2048}, type={types[0]}\n"
    script += f"start={start + boot_mib * 2048}, size={root_mib * 2048}, type={types[1]}\n"
    tool("sfdisk", "-q", path, stdin=script)
    with path.open("r+b") as file:
        _copy_sparse(fat, file.fileno(), BOOT_START)
        os.pwrite(file.fileno(), os.urandom(MIB), BOOT_START + boot_mib * MIB)
    fat.unlink()
    return path


def _copy_sparse(source: Path, target: int, offset: int) -> None:
    with source.open("rb") as file:
        for place in range(0, source.stat().st_size, 65536):
            if any(block := file.read(65536)):
                os.pwrite(target, block, offset + place)
