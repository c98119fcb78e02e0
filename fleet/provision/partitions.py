"""Find a card's boot partition in the first bytes of its image. Pure: bytes in, places out.

Raspberry Pi boards start from the first FAT partition, in an MBR or a GPT. What is no image of a card is
told apart by what it is (a packed file, a file system alone, a web page that was saved), because those
are what people have when they name a wrong file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from wire.errors import SettingsError

#: As much of an image as `find_boot` wants to see: a GPT's table ends far before.
HEAD_BYTES: Final = 1 << 20
SECTOR_BYTES: Final = 512

_MBR_FAT: Final = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF})
_MBR_GPT: Final = 0xEE
#: Types of GPT partitions that are FAT: EFI system, and Microsoft's basic data (little-endian GUIDs).
_GPT_FAT: Final = frozenset(
    {bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b"), bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7")}
)
#: What other files begin with: what to say of them.
_OTHERS: Final = {
    b"QFI\xfb": "a QEMU image: qemu-img convert -O raw makes a card's image of it",
    b"<!DOCTYPE": "a web page: download the image itself",
    b"<html": "a web page: download the image itself",
}


@dataclass(frozen=True)
class Partition:
    """Where a partition lies in an image or on a disk."""

    offset_bytes: int
    size_bytes: int
    is_fat: bool

    @property
    def end_bytes(self) -> int:
        return self.offset_bytes + self.size_bytes


@dataclass(frozen=True)
class CardLayout:
    """What the partition table says."""

    boot: Partition
    #: Where the last partition ends: a smaller disk or image has not all of it.
    end_bytes: int


def in_sectors(size_bytes: int) -> int:
    """Return how many bytes the sectors have that hold so many."""
    return -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES


def find_boot(head: bytes, what: str) -> CardLayout:
    """Return the layout of the card whose first HEAD_BYTES (all, if there are fewer) are `head`.

    `what` names it in errors. Raises SettingsError for what is no image of a card that can start a board.
    """
    for magic, meaning in _OTHERS.items():
        if head.startswith(magic):
            raise SettingsError(f"{what} is {meaning}")
    if len(head) < 2 * SECTOR_BYTES:
        raise SettingsError(f"{what} is no image of a card: it has only {len(head)} bytes")
    partitions = _partitions(head, what)
    boot = next((partition for partition in partitions if partition.is_fat), None)
    if boot is None:
        raise SettingsError(
            f"{what} has no FAT partition among its {len(partitions)}: not an image for a Raspberry Pi"
        )
    by_place = sorted(partitions, key=lambda partition: partition.offset_bytes)
    overlap = any(before.end_bytes > after.offset_bytes for before, after in pairwise(by_place))
    if overlap or by_place[0].offset_bytes <= 0 or min(p.size_bytes for p in partitions) <= 0:
        raise SettingsError(f"{what} is damaged: its partitions lie over each other")
    return CardLayout(boot, max(partition.end_bytes for partition in partitions))


def _partitions(head: bytes, what: str) -> list[Partition]:
    if head[510:512] != b"\x55\xaa":
        raise SettingsError(f"{what} is no image of a card: it has no partition table")
    records = [head[start : start + 16] for start in range(446, 510, 16)]
    used = [record for record in records if record[4] and record[12:16] != bytes(4)]
    # A file system's first sector has the same mark, and its code where the table would be.
    if head[54:57] == b"FAT" or head[82:85] == b"FAT" or head[3:7] == b"NTFS":
        raise SettingsError(
            f"{what} is a file system without a partition table: name the image of a whole card"
        )
    if any(record[0] not in (0x00, 0x80) for record in records) or not used:
        raise SettingsError(f"{what} is no image of a card: its partition table is empty or broken")
    if any(record[4] == _MBR_GPT for record in used):
        return _gpt_partitions(head, what)
    return [
        Partition(start * SECTOR_BYTES, count * SECTOR_BYTES, record[4] in _MBR_FAT)
        for record in used
        for start, count in [struct.unpack_from("<II", record, 8)]
    ]


def _gpt_partitions(head: bytes, what: str) -> list[Partition]:
    if head[SECTOR_BYTES : SECTOR_BYTES + 8] != b"EFI PART":
        if head[4096:4104] == b"EFI PART":
            raise SettingsError(f"{what} is for disks with sectors of 4096 bytes; cards have {SECTOR_BYTES}")
        raise SettingsError(f"{what} is damaged: its GPT has no header")
    first, count, size = struct.unpack_from("<QII", head, SECTOR_BYTES + 72)
    start = first * SECTOR_BYTES
    if size < 128 or start + count * size > len(head):
        raise SettingsError(f"{what} is damaged: its GPT is not where it should be")
    entries = [head[place : place + size] for place in range(start, start + count * size, size)]
    return [
        Partition(low * SECTOR_BYTES, (high - low + 1) * SECTOR_BYTES, entry[:16] in _GPT_FAT)
        for entry in entries
        if any(entry[:16])
        for low, high in [struct.unpack_from("<QQ", entry, 32)]
    ]
