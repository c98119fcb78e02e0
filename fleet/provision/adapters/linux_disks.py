"""The disks of this computer, as Linux tells of them in /sys and /proc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.provision.adapters.disk_medium import open_disk, peek_disk
from fleet.provision.disk_rules import Disk
from fleet.provision.medium import Medium
from wire.errors import SettingsError, UnavailableError

#: Sizes in /sys are in these, whatever the disk's own sectors are.
_SYS_SECTOR_BYTES: Final = 512
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class _Mount:
    #: Of the device, such as 8:17; 0:31 for what is on no single device.
    number: str
    point: str
    source: str


class LinuxDisks:
    """Looks at disks; those with "/" or one of the `protected` paths are ours. Tests give other roots."""

    def __init__(
        self,
        protected: Sequence[Path],
        *,
        sys_root: Path = Path("/sys"),
        proc_root: Path = Path("/proc"),
        dev_root: Path = Path("/dev"),
    ) -> None:
        self._protected = [Path("/"), *(path.absolute() for path in protected)]
        self._block = sys_root / "class" / "block"
        self._proc = proc_root
        self._dev = dev_root

    def look(self, path: Path) -> Disk:
        """Return what is known of the disk `path`; raise SettingsError for what is no disk."""
        folder = self._folder(path)
        parts = [folder, *(entry.parent for entry in folder.glob("*/partition"))]
        numbers = {_text(part / "dev") for part in parts}
        names = {part.name for part in parts}
        mounts = self._mounts()
        here = [mount for mount in mounts if mount.number in numbers or self._name(mount.source) in names]
        holders = [entry.name for part in parts for entry in part.glob("holders/*")]
        swaps = ["swap" for line in self._lines("swaps")[1:] if self._name(line.split()[0]) in names]
        kind = _text(folder / "device" / "type")
        size = _text(folder / "size")
        return Disk(
            path=str(self._dev / folder.name),
            size_bytes=int(size or 0) * _SYS_SECTOR_BYTES,
            sector_bytes=int(_text(folder / "queue" / "logical_block_size") or 512),
            model=_words(folder, "vendor", "model", "name") or "unknown model",
            # A slot for SD cards that is part of the computer does not call itself removable.
            is_removable=_text(folder / "removable") == "1" or kind == "SD",
            is_read_only=_text(folder / "ro") == "1",
            reader=_words(folder, "vendor", "model"),
            mounts=tuple(dict.fromkeys(mount.point for mount in here)),
            users=(*holders, *swaps),
            ours=tuple(str(p) for p in self._protected if folder.name in self._disks_below(p, mounts)),
        )

    def is_there(self, path: Path) -> bool:
        """Say whether there is a card in the reader, or a disk at all."""
        try:  # a reader notices some cards only when it is opened
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return False
        return int(_text(self._block / self._kernel_name(path) / "size") or 0) > 0

    def open(self, disk: Disk) -> AbstractContextManager[Medium]:
        """Hold a disk for ourselves alone."""
        return open_disk(disk.path)

    def peek(self, disk: Disk) -> AbstractContextManager[Medium]:
        """Open a disk to be read."""
        return peek_disk(disk.path)

    def unmount(self, disk: Disk) -> None:
        """Unmount all of the disk's file systems."""
        for mount in sorted(disk.mounts, key=len, reverse=True):
            done = _run("umount", "--", mount)
            if done:
                raise UnavailableError(f"{mount} cannot be unmounted: {done}")

    def eject(self, disk: Disk) -> bool:
        """Have the reader let go of the card; return whether it said that it did.

        `eject`, and not udisksctl's power-off or the kernel's `delete`: after those, the reader itself is
        gone until it is plugged in again, and with it the way to the next card.
        """
        return shutil.which("eject") is not None and not _run("eject", disk.path)

    def _folder(self, path: Path) -> Path:
        link = self._block / self._kernel_name(path)
        if path.resolve().parent != self._dev.resolve() or not link.exists():
            known = ", ".join(str(self._dev / name) for name in self._removable_names()) or "none"
            raise SettingsError(f"{path} is no disk; those that can be taken out are: {known}")
        folder = link.resolve()
        if (folder / "partition").exists():
            raise SettingsError(
                f"{path} is a part of a disk: name the whole, {self._dev / folder.parent.name}"
            )
        return folder

    def _removable_names(self) -> list[str]:
        found = [link.resolve() for link in self._block.iterdir()]
        return sorted(
            folder.name
            for folder in found
            if _text(folder / "removable") == "1" or _text(folder / "device" / "type") == "SD"
        )

    def _kernel_name(self, path: Path) -> str:
        return path.resolve().name  # /dev/disk/by-id/... is a link

    def _name(self, source: str) -> str:
        return Path(source).resolve().name if source.startswith("/") else ""

    def _disks_below(self, path: Path, mounts: list[_Mount]) -> set[str]:
        """Return the names of the disks on which `path` lies, through partitions and mapped devices."""
        there = next((p for p in [path, *path.parents] if p.exists()), Path("/")).resolve()
        above = [mount for mount in mounts if there.is_relative_to(mount.point)]
        if not above:
            return set()
        mount = max(reversed(above), key=lambda mount: len(mount.point))  # the last one hides the others
        names = [link.name for link in self._block.iterdir() if _text(link / "dev") == mount.number]
        return set().union(*(self._disks_of(name) for name in names or [self._name(mount.source)]))

    def _disks_of(self, name: str) -> Iterator[str]:
        link = self._block / name
        if not name or not link.exists():
            return
        folder = link.resolve()
        if (folder / "partition").exists():
            folder = folder.parent
        yield folder.name
        for slave in folder.glob("slaves/*"):
            yield from self._disks_of(slave.name)

    def _mounts(self) -> list[_Mount]:
        found = []
        for line in self._lines("self/mountinfo"):
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            found.append(_Mount(fields[2], _unescape(fields[4]), _unescape(after.split(" ")[1])))
        return found

    def _lines(self, name: str) -> list[str]:
        return (self._proc / name).read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def check_system() -> None:
    """Raise SettingsError where disks are not written."""
    if sys.platform != "linux":
        raise SettingsError(
            "disks are written on Linux only: make an image with --out, and write it with Raspberry Pi Imager"
        )


def _words(folder: Path, *names: str) -> str:
    return " ".join(filter(None, (_text(folder / "device" / name) for name in names)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # not all disks have all files, and a disk may be gone
        return ""


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _run(*command: str) -> str:
    """Run a program of the system; return what it complained of, or nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} failed"
