"""Which disks a card's image may be written to. Pure: what is known of a disk in, a refusal out.

Rules:
- Never to a disk with this system or the fleet's state on it, nor to one that something else works on
  (swap, RAID, an encrypted volume): no option changes that.
- To a disk that cannot be taken out only with --force. So can a card of which a program or a person has
  mounted a partition; where a desktop mounts every card it sees, it is let go without being asked.
- Not to a part of a disk, and not to a disk with less room than the image needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from fleet.provision.partitions import SECTOR_BYTES
from wire.errors import SettingsError

#: Where desktops mount what is put in.
_AUTOMATIC: Final = ("/media/", "/run/media/")


@dataclass(frozen=True)
class Disk:
    """What is known of a disk at a moment."""

    path: str
    size_bytes: int
    sector_bytes: int
    #: For people: maker and model, such as "Generic STORAGE DEVICE".
    model: str
    is_removable: bool
    is_read_only: bool
    #: What stays the same when the card is changed: the reader's maker and model.
    reader: str = ""
    #: Where its file systems are mounted.
    mounts: tuple[str, ...] = ()
    #: What else works on it, such as "swap" or "dm-0".
    users: tuple[str, ...] = ()
    #: What of ours lies on it, such as "/".
    ours: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def automatic_mounts(self) -> tuple[str, ...]:
        return tuple(mount for mount in self.mounts if mount.startswith(_AUTOMATIC))


def check_disk(disk: Disk, needed_bytes: int, *, force: bool) -> None:
    """Raise SettingsError for a disk that must not be written."""
    if disk.ours:
        raise SettingsError(f"{disk.path} holds {' and '.join(disk.ours)}: it is never written")
    if disk.users:
        raise SettingsError(f"{disk.path} is in use by {', '.join(disk.users)}: stop that first")
    if not disk.is_removable and not force:
        raise SettingsError(
            f"{disk.path} ({disk.model}, {show_size(disk.size_bytes)}) cannot be taken out of this computer: "
            "--force if it is the right one"
        )
    kept = [mount for mount in disk.mounts if mount not in disk.automatic_mounts]
    if kept and not force:
        raise SettingsError(f"{disk.path} is mounted at {kept[0]}: `umount {kept[0]}`, or --force")
    if disk.is_read_only:
        raise SettingsError(f"{disk.path} is read-only: move the little lock on the side of the card")
    if disk.sector_bytes != SECTOR_BYTES:
        raise SettingsError(
            f"{disk.path} has sectors of {disk.sector_bytes} bytes; cards have {SECTOR_BYTES}"
        )
    if disk.size_bytes == 0:
        raise SettingsError(f"{disk.path} has no card in it")
    if disk.size_bytes < needed_bytes:
        raise SettingsError(
            f"{disk.path} has {disk.size_bytes:,} bytes and the image needs {needed_bytes:,}: too small"
        )


def show_size(size_bytes: int) -> str:
    """Return a disk's size as it is printed on it."""
    return f"{size_bytes / 1e9:.1f} GB"
