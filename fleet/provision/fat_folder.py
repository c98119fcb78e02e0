"""The entries of a folder on FAT: long names, and the short ones that old systems and firmware read. Pure.

A file has an entry of 32 bytes with its name of 8 + 3 capital letters. Where that is not its name, entries
with 13 UTF-16 units each stand before it, the last part of the name first.
Source: Microsoft, "FAT File System Specification" 1.03.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

ENTRY_BYTES: Final = 32
FOLDER: Final = 0x10
ARCHIVE: Final = 0x20
_VOLUME: Final = 0x08
_LONG: Final = 0x0F
DELETED: Final = 0xE5
_LAST_PART: Final = 0x40
#: Where an entry of a long name has its 13 units.
_UNITS: Final = ((1, 11), (14, 26), (28, 32))
_UNITS_EACH: Final = 13
_SHORT: Final = re.compile(r"([A-Z0-9!#$%&'()@^_`{}~-]{1,8})(?:\.([A-Z0-9!#$%&'()@^_`{}~-]{1,3}))?")


@dataclass(frozen=True)
class Entry:
    """A file or folder in its folder."""

    name: str
    short: bytes
    #: Its entries, with those of its long name, are the slots from `first_slot` to `slot`.
    first_slot: int
    slot: int
    attributes: int
    cluster: int
    size_bytes: int

    @property
    def is_folder(self) -> bool:
        return bool(self.attributes & FOLDER)


def entries(folder: bytes) -> Iterator[Entry]:
    """Yield what is in a folder, in its order; without volume names and the folder's own '.' and '..'."""
    parts: list[bytes] = []
    for slot in range(len(folder) // ENTRY_BYTES):
        record = folder[slot * ENTRY_BYTES : (slot + 1) * ENTRY_BYTES]
        if record[0] == 0:
            return
        if record[0] == DELETED:
            parts = []
        elif record[11] & 0x3F == _LONG:
            parts = [record] if record[0] & _LAST_PART else [*parts, record]
        else:
            if not record[11] & _VOLUME and record[:1] != b".":
                long = _long_name(parts, record[:11])
                high, low, size = struct.unpack("<20xH4xHI", record)
                name = _short_name(record) if long is None else long
                first = slot if long is None else slot - len(parts)
                yield Entry(name, record[:11], first, slot, record[11], high << 16 | low, size)
            parts = []


def make_records(
    name: str, short: bytes, attributes: int, *, cluster: int, size_bytes: int, when: datetime
) -> bytes:
    """Return the entries of a new file or folder."""
    record = bytearray(ENTRY_BYTES)
    record[:11] = short
    record[11] = attributes
    struct.pack_into("<HH", record, 14, *_fat_time(when))
    own = update_record(bytes(record), cluster=cluster, size_bytes=size_bytes, when=when)
    if name == _short_name(own):
        return own
    return b"".join(_long_records(name, short)) + own


def update_record(record: bytes, *, cluster: int, size_bytes: int, when: datetime) -> bytes:
    """Return a file's own entry with another content, written at `when`."""
    new = bytearray(record)
    new[11] |= 0 if new[11] & FOLDER else ARCHIVE
    time, date = _fat_time(when)
    struct.pack_into("<HHHHHI", new, 18, date, cluster >> 16, time, date, cluster & 0xFFFF, size_bytes)
    return bytes(new)


def slots_needed(name: str) -> int:
    """Return how many entries a file or folder of this name has at most."""
    return 1 + -(-len(name.encode("utf-16-le")) // 2 // _UNITS_EACH)


def make_short(name: str, taken: Iterable[bytes]) -> bytes:
    """Return a short name for `name` that none of its neighbours has: as it is if it fits, or with a '~1'."""
    upper, others = name.upper(), {*taken}
    if (match := _SHORT.fullmatch(upper)) and name.isascii():
        short = match[1].ljust(8).encode() + (match[2] or "").ljust(3).encode()
        if short not in others:
            return short
    base, _, extension = upper.lstrip(".").rpartition(".") if "." in upper.lstrip(".") else (upper, "", "")
    base, extension = (
        re.sub(r"[^A-Z0-9!#$%&'()@^_`{}-]", "_", s.replace(".", "")) for s in (base, extension)
    )
    for number in range(1, 10**6):
        tail = f"~{number}"
        short = (base[: 8 - len(tail)] + tail).ljust(8).encode() + extension[:3].ljust(3).encode()
        if short not in others:
            return short
    raise AssertionError("a folder holds fewer than 65536 entries")


def without_tail(folder: bytes) -> bytes:
    """Return a folder with zeros behind its end, where the rest of something older may lie."""
    end = next((n for n in range(0, len(folder), ENTRY_BYTES) if folder[n] == 0), len(folder))
    return folder[:end].ljust(len(folder), b"\0")


def free_slots(folder: bytes, count: int) -> int:
    """Return the first of `count` free slots in a row; they may reach beyond the folder's end."""
    slots = len(folder) // ENTRY_BYTES
    run = 0
    for slot in range(slots):
        first = folder[slot * ENTRY_BYTES]
        if first == 0:  # and so is all behind it
            return slot - run
        run = run + 1 if first == DELETED else 0
        if run == count:
            return slot - count + 1
    return slots - run


def _long_name(parts: list[bytes], short: bytes) -> str | None:
    """Return the name that `parts` hold; None if they are none of the entry's, left by an old system."""
    numbers = [part[0] & 0x3F for part in parts]
    if not parts or numbers != list(range(len(parts), 0, -1)):
        return None
    if any(part[13] != _checksum(short) for part in parts):
        return None
    units = b"".join(part[low:high] for part in reversed(parts) for low, high in _UNITS)
    text = units.decode("utf-16-le", "replace")
    return text.partition("\0")[0]


def _long_records(name: str, short: bytes) -> Iterator[bytes]:
    units = name.encode("utf-16-le")
    count = -(-len(units) // 2 // _UNITS_EACH)
    room = count * _UNITS_EACH * 2
    units = units if len(units) == room else (units + b"\0\0").ljust(room, b"\xff")
    for number in range(count, 0, -1):
        record = bytearray(ENTRY_BYTES)
        record[0] = number | (_LAST_PART if number == count else 0)
        record[11], record[13] = _LONG, _checksum(short)
        place = (number - 1) * _UNITS_EACH * 2
        for low, high in _UNITS:
            record[low:high] = units[place : place + high - low]
            place += high - low
        yield bytes(record)


def _short_name(record: bytes) -> str:
    """Return the name in an entry without a long one; two bits of it say which half is in lower case."""
    raw = b"\xe5" + record[1:11] if record[0] == 0x05 else record[:11]
    base, extension = (raw[:8].decode("cp437").rstrip(), raw[8:].decode("cp437").rstrip())
    base = base.lower() if record[12] & 0x08 else base
    extension = extension.lower() if record[12] & 0x10 else extension
    return f"{base}.{extension}" if extension else base


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total >> 1) + ((total & 1) << 7) + byte) & 0xFF
    return total


def _fat_time(when: datetime) -> tuple[int, int]:
    """Return the time of day, in steps of two seconds, and the date since 1980."""
    date = max(when.year - 1980, 0) << 9 | when.month << 5 | when.day
    return when.hour << 11 | when.minute << 5 | when.second // 2, date
