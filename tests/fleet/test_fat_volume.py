"""Files on a FAT that nobody has mounted: fsck finds nothing, and mtools reads what was written."""

from __future__ import annotations

import errno
import itertools
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.provision.boot_partition import FakeBootPartition
from fleet.provision.fat_volume import FatVolume, open_fat
from fleet.provision.medium import FakeMedium
from fleet.provision.partitions import Partition
from tests.support.card_images import (
    STOCK_FILES,
    check_fat,
    make_fat,
    needs_card_tools,
    put_files,
    read_files,
    tool,
)
from wire.errors import SettingsError

pytestmark = needs_card_tools

WHEN = datetime(2026, 11, 30, 16, 20, 42)  # FAT knows no zones


@pytest.fixture(scope="module", params=["fat16", "fat32", "fat16-large-clusters"])
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a boot partition with the files of a stock image."""
    path = tmp_path_factory.mktemp("fat") / "boot.fat"
    if request.param == "fat16":
        make_fat(path, mib=4, bits=16)
    elif request.param == "fat32":
        make_fat(path, mib=34, bits=32)
    else:
        make_fat(path, mib=17, bits=16, sectors_per_cluster=8)
    put_files(path, STOCK_FILES)
    return path.read_bytes()


def opened(medium: FakeMedium) -> FatVolume:
    return open_fat(medium, Partition(0, len(medium.data), is_fat=True), "boot", WHEN)


def checked_files(medium: FakeMedium, tmp_path: Path) -> dict[str, bytes]:
    """Return what mtools reads, after fsck had nothing to say."""
    path = tmp_path / "checked.fat"
    path.write_bytes(medium.data)
    check_fat(path)
    files = read_files(path)
    path.unlink()
    return files


def test_files_of_a_stock_image_are_read_as_they_are(stock: bytes) -> None:
    boot = opened(FakeMedium(stock))
    assert {name: boot.read(name) for name in STOCK_FILES} == STOCK_FILES
    assert boot.names() == ["cmdline.txt", "config.txt", "issue.txt", "overlays/", "user-data"]
    assert boot.names("overlays") == ["README"]
    assert boot.names("nowhere") == []
    assert (boot.read("nothing"), boot.read("no/where")) == (None, None)


def test_what_is_written_is_read_by_mtools(stock: bytes, tmp_path: Path) -> None:
    medium = FakeMedium(stock)
    new = {
        "cmdline.txt": b"x" * 5000,
        "meta-data": b"",
        "edgeflock/device.toml": b"[device]\n",
        "edgeflock/wheels/numpy-2.1.0-cp313-cp313-manylinux_2_17_aarch64.whl": bytes(range(256)) * 200,
        "overlays/Ünïcode.dtbo": b"1",
        "CAPITALS.TXT": b"2",
    }
    for name, data in new.items():
        opened(medium).write(name, data)
    assert checked_files(medium, tmp_path) == {**STOCK_FILES, **new}
    assert {name: opened(medium).read(name) for name in new} == new


def test_a_file_keeps_the_case_it_has(stock: bytes, tmp_path: Path) -> None:
    medium = FakeMedium(stock)
    opened(medium).write("Config.TXT", b"new")
    assert checked_files(medium, tmp_path) == {**STOCK_FILES, "config.txt": b"new"}


def test_a_new_file_has_its_time_and_the_short_name_that_firmware_reads(stock: bytes, tmp_path: Path) -> None:
    medium = FakeMedium(stock)
    opened(medium).write("tryboot.txt", b"1")
    (tmp_path / "fat").write_bytes(medium.data)
    line = next(li for li in tool("mdir", "-i", tmp_path / "fat", "::").splitlines() if "tryboot" in li)
    assert line.lower().split()[:5] == ["tryboot", "txt", "1", "2026-11-30", "16:20"]


def test_a_full_partition_refuses_before_anything_is_changed(stock: bytes) -> None:
    medium = FakeMedium(stock)
    boot = opened(medium)
    for name, more in (("cmdline.txt", 1), ("edgeflock/new", 0)):
        with pytest.raises(OSError, match="full") as refusal:
            boot.write(name, bytes(boot.free_bytes() + more))
        assert refusal.value.errno == errno.ENOSPC
    assert medium.data == stock


def test_all_free_bytes_can_be_written_over_a_file_and_come_back(stock: bytes, tmp_path: Path) -> None:
    medium = FakeMedium(stock)
    boot = opened(medium)
    free = boot.free_bytes()
    boot.write("cmdline.txt", bytes([7]) * free)
    boot.write("cmdline.txt", b"")
    assert checked_files(medium, tmp_path)["cmdline.txt"] == b""
    assert boot.free_bytes() == opened(medium).free_bytes() == free + len(stock_cluster(boot))


def stock_cluster(boot: FatVolume) -> bytes:
    return bytes(boot._layout.cluster_bytes)  # the one that the old cmdline.txt had


def test_files_that_have_room_by_the_count_can_all_be_written(stock: bytes) -> None:
    files = {"cmdline.txt": 700, "meta-data": 0, "a-name-that-is-long-and-new.txt": 1}
    files |= {f"edgeflock/wheels/a-wheel-with-a-rather-long-name-{number}.whl": 1000 for number in range(20)}
    refused, taken = 0, 0
    for left in range(0, 150, 5):
        boot = opened(FakeMedium(stock))
        cluster = len(stock_cluster(boot))
        boot.write("filler", bytes(boot.free_bytes() - left * cluster - 2 * cluster))
        if boot.needed_bytes(files) > boot.free_bytes():
            refused += 1
            continue
        taken += 1
        for name, size in files.items():
            boot.write(name, bytes(size))
    assert refused
    assert taken


def test_a_root_of_fat16_without_entries_for_all_is_told_beforehand(tmp_path: Path) -> None:
    medium = FakeMedium(make_fat(tmp_path / "fat", mib=4, bits=16).read_bytes())
    boot = opened(medium)
    with pytest.raises(OSError, match="first folder is full"):
        boot.needed_bytes({f"file-number-{number}": 1 for number in range(300)})
    fit = {f"file-number-{number}": 1 for number in range(150)}
    assert boot.needed_bytes(fit) < boot.free_bytes()
    for name in fit:
        boot.write(name, b"x")


def test_a_root_of_fat16_that_is_full_refuses_before_anything_is_changed(tmp_path: Path) -> None:
    medium = FakeMedium(make_fat(tmp_path / "fat", mib=4, bits=16).read_bytes())
    boot = opened(medium)
    with pytest.raises(OSError, match="first folder is full"):
        for number in range(1000):
            before = bytes(medium.data)
            boot.write(f"file-number-{number}", b"x")
    assert medium.data == before
    boot.write("file-number-0", b"y")
    assert checked_files(medium, tmp_path)["file-number-0"] == b"y"


def test_a_folder_grows_and_shrinks(stock: bytes, tmp_path: Path) -> None:
    medium = FakeMedium(stock)
    boot = opened(medium)
    names = [f"overlays/a-rather-long-name-{number}.dtbo" for number in range(200)]
    for name in names:
        boot.write(name, name.encode())
    for name in names[::2]:
        boot.remove(name)
    boot.write("overlays/another-name-that-needs-slots-in-a-row.dtbo", b"")
    assert set(checked_files(medium, tmp_path)) == {
        *STOCK_FILES,
        *names[1::2],
        "overlays/another-name-that-needs-slots-in-a-row.dtbo",
    }


def test_short_names_of_neighbours_differ(stock: bytes, tmp_path: Path) -> None:
    medium = FakeMedium(stock)
    for number in range(12):
        opened(medium).write(f"network-config-{number}", str(number).encode())
    files = checked_files(medium, tmp_path)
    assert [files[f"network-config-{number}"] for number in range(12)] == [b"%d" % n for n in range(12)]


def test_a_folder_in_a_files_place_is_an_error(stock: bytes) -> None:
    boot = opened(FakeMedium(stock))
    for act in (boot.read, boot.remove, lambda name: boot.write(name, b"")):
        with pytest.raises(IsADirectoryError):
            act("overlays")
    with pytest.raises(NotADirectoryError):
        boot.write("config.txt/x", b"")


def test_a_write_that_ends_midway_leaves_the_old_file_or_the_new(stock: bytes, tmp_path: Path) -> None:
    names = ("edgeflock/device.toml", "config.txt", "user-data")
    for writes in itertools.count():
        medium = FakeMedium(stock, pulled_after=writes)
        try:
            for name in names:
                opened(medium).write(name, b"new" * 1000)
        except OSError:
            medium.pulled_after = None
        else:
            break
        after = opened(medium)
        assert all(after.read(name) in (data, b"new" * 1000) for name, data in STOCK_FILES.items())
        for name in names:
            after.write(name, b"again")
        assert [after.read(name) for name in names] == [b"again"] * 3
    assert writes >= 20


def test_fat32_with_too_few_clusters_is_taken_as_linux_takes_it(tmp_path: Path) -> None:
    medium = FakeMedium(make_fat(tmp_path / "fat", mib=8, bits=32, sectors_per_cluster=2).read_bytes())
    opened(medium).write("edgeflock/a", b"x" * 3000)
    assert opened(medium).read("edgeflock/a") == b"x" * 3000
    (tmp_path / "fat").write_bytes(medium.data)
    check_fat(tmp_path / "fat")


@pytest.mark.parametrize("place", ["table", "size"])
def test_a_damaged_file_system_is_an_error_and_not_read_wrongly(place: str, tmp_path: Path) -> None:
    path = make_fat(tmp_path / "fat", mib=4, bits=16)
    put_files(path, {"a": bytes(2000)})
    data = bytearray(path.read_bytes())
    layout = opened(FakeMedium(bytes(data)))._layout
    if place == "table":
        for offset in layout.table_offsets:
            data[offset + 4 : offset + 100] = b"\x02\x00" * 48  # each cluster is followed by cluster 2
    else:
        entry = data.index(b"A          ", layout.root_offset)
        data[entry + 28 : entry + 32] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(OSError, match="damaged"):
        opened(FakeMedium(bytes(data))).read("a")


@pytest.mark.parametrize("how", ["the same begin", "a common end", "a folder in itself"])
def test_where_two_files_share_clusters_nothing_is_written(how: str, tmp_path: Path) -> None:
    path = make_fat(tmp_path / "fat", mib=4, bits=16)
    put_files(path, {"a": bytes(2000), "b": bytes(2000), "folder/c": b"", "folder/d/e": b""})
    medium = FakeMedium(path.read_bytes())
    boot = opened(medium)
    root, within = boot._root(), boot._folder(boot._root().entry("folder").cluster)  # type: ignore[union-attr]
    first, second = root.entry("a"), root.entry("b")
    inner = within.entry("d")
    assert first
    assert second
    assert inner
    layout = boot._layout
    if how == "the same begin":
        place = layout.root_offset + second.slot * 32 + 26
        medium.data[place : place + 2] = first.cluster.to_bytes(2, "little")
    elif how == "a common end":
        for table in layout.table_offsets:
            place = table + second.cluster * 2
            medium.data[place : place + 2] = boot._chain(first)[1].to_bytes(2, "little")
    else:
        place = layout.cluster_offset(within.clusters[0]) + inner.slot * 32 + 26
        medium.data[place : place + 2] = within.clusters[0].to_bytes(2, "little")
    before = bytes(medium.data)
    with pytest.raises(OSError, match=r"two files share clusters\): check it with fsck\.vfat"):
        opened(medium).write("b", b"new")
    assert medium.data == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({510: 0}, "no FAT file system"),
        ({11: 0, 12: 16}, "sectors of 4096 bytes"),
        ({13: 0}, "no FAT file system"),
        ({22: 255, 23: 255}, "does not fit"),
        ({13: 128}, "FAT12"),
    ],
)
def test_what_is_no_fat_of_ours_is_refused(tmp_path: Path, change: dict[int, int], complaint: str) -> None:
    data = bytearray(make_fat(tmp_path / "fat", mib=4, bits=16).read_bytes())
    for place, value in change.items():
        data[place] = value
    with pytest.raises(SettingsError, match=complaint):
        opened(FakeMedium(bytes(data)))


# --- anything, in any order ---------------------------------------------------------------------

LONGEST = "y" * 123  # with the 4 characters that make it a folder's
PARTS = st.sampled_from(
    ["a", "b.txt", "B.TXT", "long name.with.dots", "x" * 90, LONGEST, "+[]", "Ä é", "c~1"]
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map(
    lambda parts: "/".join([f"dir {part}" for part in parts[:-1]] + parts[-1:])
)
ACTS = st.lists(st.tuples(NAMES, st.one_of(st.none(), st.integers(0, 5000))), max_size=25)


@settings(max_examples=25, deadline=None)
@given(acts=ACTS)
def test_any_order_of_writes_and_removals_ends_as_in_the_fake(
    acts: list[tuple[str, int | None]], stock: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    medium, model = FakeMedium(stock), FakeBootPartition(STOCK_FILES)
    boot = opened(medium)
    for number, (name, size) in enumerate(acts):
        for partition in (boot, model):
            if size is None:
                partition.remove(name)
            else:
                partition.write(name, bytes([number]) * size)
    assert {name: boot.read(name) for name in model.files} == model.files
    found = checked_files(medium, tmp_path_factory.mktemp("fat"))
    # Only FAT knows in which case a folder was made that has nothing in it any more.
    assert folded(found) == folded(model.files)
    assert boot.free_bytes() == opened(medium).free_bytes()


def folded(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.casefold(): data for name, data in files.items()}
