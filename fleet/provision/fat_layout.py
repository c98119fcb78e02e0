"""What a FAT16 or FAT32 file system is made of: where its parts lie, and which clusters follow which. Pure.

Source: Microsoft, "FAT File System Specification" 1.03. Like Linux, and unlike it, a file system is taken
for FAT32 when it says so (no 16-bit size of its tables), and not by counting clusters: mkfs.vfat --offset
makes FAT32 with fewer than 65525.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from wire.errors import SettingsError

_FIRST_CLUSTER: Final = 2
_LEAST_FAT16_CLUSTERS: Final = 4085
_FAT32_MASK: Final = 0x0FFFFFFF  # the upper four bits are not ours, and stay as they are


def damaged(problem: str, remedy: str = "write the image again") -> OSError:
    """Return what is raised for a file system that contradicts itself."""
    return OSError(errno.EIO, f"the boot partition is damaged ({problem}): {remedy}")


@dataclass(frozen=True)
class FatLayout:
    """Where the parts of one file system lie, in bytes from its beginning."""

    sector_bytes: int
    cluster_bytes: int
    is_fat32: bool
    #: The tables that are in use: all copies, or the only one that is where they are not mirrored.
    table_offsets: tuple[int, ...]
    table_bytes: int
    #: Of FAT16: its root folder has a place and a size of its own.
    root_offset: int
    root_bytes: int
    #: Of FAT32: its root folder is a chain like any other.
    root_cluster: int
    data_offset: int
    clusters: int
    #: Where FAT32 notes how much is free, or 0.
    info_offset: int

    def cluster_offset(self, cluster: int) -> int:
        return self.data_offset + (cluster - _FIRST_CLUSTER) * self.cluster_bytes


def parse_layout(sector: bytes, size_bytes: int, what: str) -> FatLayout:
    """Return the layout by the first sector of a file system; raise SettingsError for others."""
    sector_bytes, per_cluster, reserved, tables, root_entries, total16 = struct.unpack_from(
        "<HBHBHH", sector, 11
    )
    (table16,) = struct.unpack_from("<H", sector, 22)
    total32, table32, flags = struct.unpack_from("<IIH", sector, 32)
    if sector[510:512] != b"\x55\xaa" or per_cluster == 0 or tables == 0 or reserved == 0:
        raise SettingsError(f"{what}: its boot partition is no FAT file system")
    if sector_bytes != 512:
        raise SettingsError(f"{what}: its boot partition has sectors of {sector_bytes} bytes; cards have 512")
    is_fat32, table = table16 == 0, table16 or table32
    root_offset = (reserved + tables * table) * sector_bytes
    root_bytes = -(-root_entries * 32 // sector_bytes) * sector_bytes
    data_offset, total = root_offset + root_bytes, (total16 or total32) * sector_bytes
    if not data_offset < total <= size_bytes or table == 0:
        raise SettingsError(f"{what}: its boot partition is damaged: the FAT does not fit into it")
    cluster_bytes = per_cluster * sector_bytes
    fits = table * sector_bytes // (4 if is_fat32 else 2) - _FIRST_CLUSTER
    clusters = min((total - data_offset) // cluster_bytes, fits)
    if not is_fat32 and clusters < _LEAST_FAT16_CLUSTERS:
        raise SettingsError(f"{what}: its boot partition is FAT12, which no Raspberry Pi image has")
    copies = [flags & 0x0F] if is_fat32 and flags & 0x80 else list(range(tables))
    if copies[-1] >= tables:
        raise SettingsError(f"{what}: its boot partition is damaged: it uses a table that it has not")
    root_cluster, info = struct.unpack_from("<IH", sector, 44) if is_fat32 else (0, 0)
    return FatLayout(
        sector_bytes=sector_bytes,
        cluster_bytes=cluster_bytes,
        is_fat32=is_fat32,
        table_offsets=tuple((reserved + copy * table) * sector_bytes for copy in copies),
        table_bytes=table * sector_bytes,
        root_offset=root_offset,
        root_bytes=root_bytes,
        root_cluster=root_cluster,
        data_offset=data_offset,
        clusters=clusters,
        info_offset=info * sector_bytes if info not in (0, 0xFFFF) else 0,
    )


class ClusterTable:
    """The table that says of each cluster which one follows; changed here in memory only."""

    def __init__(self, layout: FatLayout, data: bytes) -> None:
        self._code, size = ("I", 4) if layout.is_fat32 else ("H", 2)
        self._per_sector = layout.sector_bytes // size
        self._entries: list[int] = list(struct.unpack(f"<{len(data) // size}{self._code}", data))
        self._mask = _FAT32_MASK if layout.is_fat32 else 0xFFFF
        self._end = self._mask - 7  # from here on, a number means that nothing follows
        self._numbers = range(_FIRST_CLUSTER, _FIRST_CLUSTER + layout.clusters)
        self._changed: set[int] = set()
        self.free_count: int = sum(self._entries[number] & self._mask == 0 for number in self._numbers)
        self.last_taken = _FIRST_CLUSTER

    def chain(self, first: int) -> list[int]:
        """Return the clusters of a chain; raise OSError for one that is broken."""
        found: list[int] = []
        number = first
        while number < self._end:
            if number not in self._numbers or len(found) > len(self._numbers):
                raise damaged("a chain of clusters leads nowhere")
            found.append(number)
            number = self._entries[number] & self._mask
        return found

    def allocate(self, count: int) -> list[int]:
        """Return `count` free clusters, chained; with fewer, change nothing and raise OSError (ENOSPC)."""
        if count > self.free_count:
            raise OSError(errno.ENOSPC, "the boot partition is full")
        start = self.last_taken
        order = chain(range(start, self._numbers.stop), range(_FIRST_CLUSTER, start))
        found = list(islice((number for number in order if self._entries[number] & self._mask == 0), count))
        for number, follower in zip(found, [*found[1:], self._mask], strict=False):
            self.follow(number, follower)
        self.free_count -= count
        self.last_taken = found[-1] if found else start
        return found

    def release(self, clusters: Iterable[int]) -> None:
        """Give `clusters` back."""
        for number in clusters:
            self.follow(number, 0)
            self.free_count += 1

    def follow(self, number: int, follower: int) -> None:
        """Have `follower` come after the cluster `number`."""
        self._entries[number] = (self._entries[number] & ~self._mask) | follower
        self._changed.add(number // self._per_sector)

    def take_changes(self) -> dict[int, bytes]:
        """Return the sectors of the table that have changed since the last call, by their numbers."""
        changed, self._changed = sorted(self._changed), set()
        return {number: self._sector(number) for number in changed}

    def _sector(self, number: int) -> bytes:
        entries = self._entries[number * self._per_sector : (number + 1) * self._per_sector]
        return struct.pack(f"<{len(entries)}{self._code}", *entries)
