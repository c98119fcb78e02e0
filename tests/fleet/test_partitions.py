"""The boot partition in the first bytes of an image, and what is said of files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.provision.partitions import HEAD_BYTES, Partition, find_boot
from tests.support.card_images import BOOT_START, MIB, make_image, needs_card_tools
from wire.errors import SettingsError

SECTOR = 512


def mbr(*records: tuple[int, int, int]) -> bytes:
    """Return a partition table of (type, first sector, sectors)."""
    table = b"".join(struct.pack("<4xB3xII", *record) for record in records)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa" + bytes(SECTOR)


@needs_card_tools
@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_the_boot_partition_of_an_image_is_found(label: str, tmp_path: Path) -> None:
    image = make_image(tmp_path / "pi.img", label=label, boot_mib=34, root_mib=4)
    with image.open("rb") as file:
        layout = find_boot(file.read(HEAD_BYTES), "pi.img")
    assert layout.boot == Partition(BOOT_START, 34 * MIB, is_fat=True)
    assert layout.end_bytes == BOOT_START + 38 * MIB


def test_the_first_fat_partition_counts_whatever_lies_before_it() -> None:
    layout = find_boot(mbr((0x83, 8192, 100), (0x0E, 9000, 100), (0x0C, 20000, 10)), "x")
    assert layout.boot.offset_bytes == 9000 * SECTOR
    assert layout.end_bytes == 20010 * SECTOR


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (b"", "only 0 bytes"),
        (b"hello\n", "only 6 bytes"),
        (bytes(4096), "no partition table"),
        (b"<!DOCTYPE html><html>" + bytes(4096), "a web page"),
        (b"QFI\xfb" + bytes(4096), "qemu-img convert"),
        (mbr(), "empty or broken"),
        (mbr((0x83, 8192, 100), (0x82, 9000, 100)), "no FAT partition among its 2"),
        (mbr((0x0C, 8192, 1000), (0x83, 9000, 100)), "lie over each other"),
        (mbr((0x0C, 0, 1000)), "lie over each other"),
        (mbr((0xEE, 1, 1000)), "GPT has no header"),
        (mbr((0xEE, 1, 1000)).ljust(4096, b"\0") + b"EFI PART" + bytes(4096), "sectors of 4096 bytes"),
        (mbr((0xEE, 1, 1000))[:512] + b"EFI PART" + bytes(504), "GPT is not where it should be"),
        (bytes(82) + b"FAT32   " + mbr((0x0C, 8192, 1000))[90:], "a file system without a partition table"),
    ],
)
def test_what_is_no_image_of_a_card_is_told_by_what_it_is(head: bytes, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        find_boot(head, "this.img")


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_a_layout_or_one_line(data: bytes, marked: bool) -> None:
    head = data[:510].ljust(510, b"\0") + b"\x55\xaa" + data[510:] if marked else data
    try:
        layout = find_boot(head, "any")
    except SettingsError:
        return
    assert 0 < layout.boot.offset_bytes < layout.boot.end_bytes <= layout.end_bytes
