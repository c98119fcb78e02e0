"""Disks that are plain files, in a reader whose cards a test changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.provision.adapters.disk_medium import DiskMedium, open_disk, peek_disk
from fleet.provision.adapters.file_medium import FileMedium
from fleet.provision.disk_rules import Disk
from wire.errors import SettingsError


class FakeDisks:
    """One reader; its disk is the file that is `inserted`, or none. As strict as Linux' own."""

    def __init__(self, *, ejects: bool = True) -> None:
        self.inserted: Path | None = None
        self.mounts: tuple[str, ...] = ()
        self.reader = "Fake Reader"
        self.unmounted: list[str] = []
        self.ejected: list[Path] = []
        #: What happens to a medium before it is used, such as being pulled out.
        self.spoil: Callable[[DiskMedium], DiskMedium] = lambda medium: medium
        self._ejects = ejects

    def look(self, path: Path) -> Disk:
        if path != Path("/dev/sdx"):
            raise SettingsError(f"{path} is no disk")
        size = self.inserted.stat().st_size if self.inserted else 0
        return Disk(str(path), size, 512, "Fake Card", True, False, self.reader, self.mounts)

    def is_there(self, path: Path) -> bool:
        return self.look(path).size_bytes > 0

    def unmount(self, disk: Disk) -> None:
        self.unmounted += disk.mounts
        self.mounts = ()

    @contextmanager
    def open(self, disk: Disk) -> Iterator[DiskMedium]:
        assert not self.mounts
        with open_disk(str(self._card())) as medium:
            yield self.spoil(medium)

    @contextmanager
    def peek(self, disk: Disk) -> Iterator[FileMedium]:
        with peek_disk(str(self._card())) as medium:
            yield medium

    def eject(self, disk: Disk) -> bool:
        self.ejected.append(self._card())
        if self._ejects:
            self.inserted = None
        return self._ejects

    def _card(self) -> Path:
        assert self.inserted is not None
        return self.inserted


def card(path: Path, size_bytes: int) -> Path:
    """Make a card that has held something else before."""
    path.write_bytes(b"\xa5" * size_bytes)
    return path
