"""A boot partition in the FAT16 or FAT32 file system of an image or a disk, without mounting it.

Rules:
- What was there stays until what replaces it is written: data first, then the table, then the one sector
  with the file's entry, and only then the old clusters are given back. Whatever moment the writing ends
  at, a file is the old or the new one; at worst some clusters belong to nobody.
- Room is checked before the first write.
- Where two files share clusters nothing is written: those that one gives back would still be the other's.
- The operating system may still change the order. Who writes a disk that can be pulled must `flush`,
  read back, and take the card for unwritten until then.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fleet.provision import fat_folder
from fleet.provision.boot_partition import GROWTH_CLUSTERS, check_file_name, clusters_needed
from fleet.provision.fat_folder import ARCHIVE, DELETED, ENTRY_BYTES, FOLDER, Entry
from fleet.provision.fat_layout import ClusterTable, FatLayout, damaged, parse_layout
from fleet.provision.medium import Medium
from fleet.provision.partitions import SECTOR_BYTES, Partition

_ROOT: Final = 0  # as the cluster of a folder
_INFO_MARKS: Final = ((0, 0x41615252), (484, 0x61417272))


@dataclass(frozen=True)
class _Folder:
    clusters: list[int]  # none for the root of FAT16
    data: bytes

    def entry(self, name: str) -> Entry | None:
        folded = name.casefold()
        return next((e for e in fat_folder.entries(self.data) if e.name.casefold() == folded), None)


def open_fat(medium: Medium, partition: Partition, where: str, when: datetime) -> FatVolume:
    """Return the file system in `partition` of `medium`; what is written gets the time `when`.

    Raises SettingsError for what is no FAT16 or FAT32, OSError for what cannot be read or is damaged.
    """
    sector = medium.read_at(partition.offset_bytes, SECTOR_BYTES)
    layout = parse_layout(sector, partition.size_bytes, where)
    volume = FatVolume(medium, partition, layout, where, when)
    volume.check_chains()
    return volume


class FatVolume:
    """A `BootPartition`; one at a time may be open on a medium."""

    def __init__(
        self, medium: Medium, partition: Partition, layout: FatLayout, where: str, when: datetime
    ) -> None:
        self.where = where
        self._medium = medium
        self._start = partition.offset_bytes
        self._layout = layout
        self._when = when
        self._known_table: ClusterTable | None = None

    def check_chains(self) -> None:
        """Raise OSError where two files or folders share a cluster; of the data only folders are read."""
        folders = [self._root()]
        seen = set(folders[0].clusters)
        while folders:
            for entry in fat_folder.entries(folders.pop().data):
                clusters = self._chain(entry)
                if not seen.isdisjoint(clusters):
                    raise damaged("two files share clusters", "check it with fsck.vfat")
                seen.update(clusters)
                if entry.is_folder:
                    folders.append(_Folder(clusters, self._read_chain(clusters)))

    def read(self, name: str) -> bytes | None:
        *folders, last = check_file_name(name).split("/")
        folder = self._walk(folders)
        entry = folder.entry(last) if folder else None
        if entry is None:
            return None
        if entry.is_folder:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", name)
        data = self._read_chain(self._chain(entry))
        if len(data) < entry.size_bytes:
            raise damaged(f"{name} is cut off")
        return data[: entry.size_bytes]

    def write(self, name: str, data: bytes) -> None:
        *folders, last = check_file_name(name).split("/")
        depth = next((n for n in range(len(folders), 0, -1) if self._walk(folders[:n])), 0)
        folder = self._walk(folders[:depth]) or self._root()
        old = folder.entry(last) if depth == len(folders) else None
        if old and old.is_folder:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", name)
        count = -(-len(data) // self._layout.cluster_bytes)
        self._check_room(folder, count, [] if old else [*folders, last][depth:])
        for number in range(depth, len(folders)):
            folder = self._make_folder(folder, folders[number])
        clusters = self._write_chain(data)
        first = clusters[0] if clusters else 0
        if old is None:
            self._add(folder, last, ARCHIVE, first, len(data))
        else:
            record = fat_folder.update_record(
                folder.data[old.slot * ENTRY_BYTES :][:ENTRY_BYTES],
                cluster=first,
                size_bytes=len(data),
                when=self._when,
            )
            self._put(folder, old.slot, record)
            self._release(old)

    def remove(self, name: str) -> None:
        *folders, last = check_file_name(name).split("/")
        folder = self._walk(folders)
        entry = folder.entry(last) if folder else None
        if folder is None or entry is None:
            return
        if entry.is_folder:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", name)
        records = bytearray(folder.data[entry.first_slot * ENTRY_BYTES : (entry.slot + 1) * ENTRY_BYTES])
        records[::ENTRY_BYTES] = bytes([DELETED]) * (len(records) // ENTRY_BYTES)
        self._put(folder, entry.first_slot, bytes(records))
        self._release(entry)

    def names(self, folder: str = "") -> list[str]:
        found = self._walk(check_file_name(folder).split("/") if folder else [])
        return sorted(e.name + "/" * e.is_folder for e in fat_folder.entries(found.data)) if found else []

    def free_bytes(self) -> int:
        """Return how much more data fits into files that are there; a new one needs an entry too."""
        return self._table.free_count * self._layout.cluster_bytes

    def needed_bytes(self, sizes: Mapping[str, int]) -> int:
        root = self._root()
        if not root.clusters:
            tops = {check_file_name(name).split("/")[0] for name in sizes}
            _check_slots(root, sum(fat_folder.slots_needed(top) for top in tops if root.entry(top) is None))
        return clusters_needed(sizes, self._layout.cluster_bytes, self._is_there) * self._layout.cluster_bytes

    def flush(self) -> None:
        self._medium.sync()

    @property
    def _table(self) -> ClusterTable:
        if self._known_table is None:
            offset = self._start + self._layout.table_offsets[0]
            data = self._medium.read_at(offset, self._layout.table_bytes)
            self._known_table = ClusterTable(self._layout, data)
        return self._known_table

    def _check_room(self, folder: _Folder, clusters: int, new_names: list[str]) -> None:
        """Raise OSError unless so many clusters fit, and a new entry in `folder` and its new folders."""
        if clusters + GROWTH_CLUSTERS * len(new_names) > self._table.free_count:
            raise OSError(errno.ENOSPC, "the boot partition is full")
        if new_names and not folder.clusters:
            _check_slots(folder, fat_folder.slots_needed(new_names[0]))

    # --- folders ---------------------------------------------------------------------------------

    def _root(self) -> _Folder:
        if self._layout.is_fat32:
            return self._folder(self._layout.root_cluster)
        offset = self._start + self._layout.root_offset
        return _Folder([], self._medium.read_at(offset, self._layout.root_bytes))

    def _folder(self, cluster: int) -> _Folder:
        clusters = self._table.chain(cluster)
        return _Folder(clusters, self._read_chain(clusters))

    def _walk(self, folders: list[str]) -> _Folder | None:
        found = self._root()
        for name in folders:
            entry = found.entry(name)
            if entry is None:
                return None
            if not entry.is_folder:
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", name)
            found = self._folder(entry.cluster)
        return found

    def _is_there(self, path: str) -> bool:
        *folders, last = path.split("/")
        folder = self._walk(folders)
        return folder is not None and folder.entry(last) is not None

    def _make_folder(self, parent: _Folder, name: str) -> _Folder:
        first = parent.clusters[0] if parent.clusters else _ROOT
        above = _ROOT if first == self._layout.root_cluster else first
        [cluster] = self._table.allocate(1)
        records = b"".join(
            fat_folder.make_records(
                name, name.ljust(11).encode(), FOLDER, cluster=target, size_bytes=0, when=self._when
            )
            for name, target in ((".", cluster), ("..", above))
        )
        data = records.ljust(self._layout.cluster_bytes, b"\0")
        self._write(self._layout.cluster_offset(cluster), data)
        self._write_table()
        self._add(parent, name, FOLDER, cluster, 0)
        return _Folder([cluster], data)

    def _add(self, folder: _Folder, name: str, attributes: int, cluster: int, size_bytes: int) -> None:
        short = fat_folder.make_short(name, (entry.short for entry in fat_folder.entries(folder.data)))
        records = fat_folder.make_records(
            name, short, attributes, cluster=cluster, size_bytes=size_bytes, when=self._when
        )
        self._put(folder, fat_folder.free_slots(folder.data, len(records) // ENTRY_BYTES), records)

    def _put(self, folder: _Folder, slot: int, records: bytes) -> None:
        """Write `records` from `slot` on, and make the folder longer where they need it."""
        old, start = fat_folder.without_tail(folder.data), slot * ENTRY_BYTES
        grown = -(-max(start + len(records) - len(old), 0) // self._layout.cluster_bytes)
        clusters = folder.clusters
        if grown:  # never the root of FAT16: its room was checked
            clusters = clusters + self._table.allocate(grown)
        new = bytearray(old.ljust(len(clusters) * self._layout.cluster_bytes, b"\0"))
        new[start : start + len(records)] = records
        for place in range(len(old), len(new), self._layout.cluster_bytes):
            cluster = clusters[place // self._layout.cluster_bytes]
            self._write(
                self._layout.cluster_offset(cluster), bytes(new[place:][: self._layout.cluster_bytes])
            )
        if grown:
            self._table.follow(folder.clusters[-1], clusters[len(folder.clusters)])
            self._write_table()
        for place in range(0, len(old), SECTOR_BYTES):
            sector = bytes(new[place : place + SECTOR_BYTES])
            if sector != folder.data[place : place + SECTOR_BYTES]:
                self._write(self._place(clusters, place), sector)

    def _place(self, clusters: list[int], place: int) -> int:
        """Return where on the partition the byte `place` of a folder is."""
        if not clusters:
            return self._layout.root_offset + place
        number, within = divmod(place, self._layout.cluster_bytes)
        return self._layout.cluster_offset(clusters[number]) + within

    # --- chains of clusters ----------------------------------------------------------------------

    def _chain(self, entry: Entry) -> list[int]:
        return self._table.chain(entry.cluster) if entry.cluster else []

    def _read_chain(self, clusters: list[int]) -> bytes:
        size = self._layout.cluster_bytes
        return b"".join(
            self._medium.read_at(self._start + self._layout.cluster_offset(first), count * size)
            for first, count in _runs(clusters)
        )

    def _write_chain(self, data: bytes) -> list[int]:
        """Write `data` to free clusters, the last one filled up with zeros, and note them as taken."""
        size = self._layout.cluster_bytes
        clusters = self._table.allocate(-(-len(data) // size))
        place = 0
        for first, count in _runs(clusters):
            piece = data[place : place + count * size].ljust(count * size, b"\0")
            self._write(self._layout.cluster_offset(first), piece)
            place += count * size
        self._write_table()
        return clusters

    def _release(self, entry: Entry) -> None:
        self._table.release(self._chain(entry))
        self._write_table()

    def _write_table(self) -> None:
        """Write what has changed of the table to all its copies, and note how much is free."""
        for number, sector in self._table.take_changes().items():
            for offset in self._layout.table_offsets:
                self._write(offset + number * SECTOR_BYTES, sector)
        if self._layout.info_offset:
            info = bytearray(self._medium.read_at(self._start + self._layout.info_offset, SECTOR_BYTES))
            if all(struct.unpack_from("<I", info, place) == (mark,) for place, mark in _INFO_MARKS):
                struct.pack_into("<II", info, 488, self._table.free_count, self._table.last_taken)
                self._write(self._layout.info_offset, bytes(info))

    def _write(self, offset: int, data: bytes) -> None:
        try:
            self._medium.write_at(self._start + offset, data)
        except OSError:
            self._known_table = None  # it may say what the medium does not
            raise


def _check_slots(folder: _Folder, count: int) -> None:
    """Raise OSError unless `folder`, which cannot grow, has so many free slots in a row."""
    if (fat_folder.free_slots(folder.data, count) + count) * ENTRY_BYTES > len(folder.data):
        raise OSError(errno.ENOSPC, "the boot partition's first folder is full")


def _runs(clusters: list[int]) -> list[tuple[int, int]]:
    """Return the neighbours among `clusters` as first and count."""
    runs: list[tuple[int, int]] = []
    for cluster in clusters:
        if runs and sum(runs[-1]) == cluster:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((cluster, 1))
    return runs
