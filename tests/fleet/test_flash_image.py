"""`flash --image --out`: a copy of a stock image becomes a device, and the image is never touched."""

from __future__ import annotations

import bz2
import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from edgeflock import main
from fleet.provision.adapters import card_image, image_copy
from fleet.provision.adapters.file_medium import FileMedium
from fleet.provision.fat_volume import open_fat
from fleet.provision.partitions import Partition
from tests.support.card_images import (
    BOOT_START,
    MIB,
    STOCK_FILES,
    check_fat,
    make_image,
    needs_card_tools,
    read_files,
)
from wire.deadline import Deadline

pytestmark = needs_card_tools

DEVICE = ("--device", "kitchen-1", "--broker", "hub.local", "--unsigned")


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock image that nobody may change; not even by its rights."""
    path = make_image(tmp_path_factory.mktemp("stock") / "raspios.img", boot_mib=6, bits=16)
    path.chmod(0o444)
    return path


@pytest.fixture(autouse=True)
def untouched(stock: Path) -> object:
    """Fail the test that changes the stock image."""
    before = digest(stock)
    yield
    assert digest(stock) == before


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flash(image: Path, out: Path, *more: str) -> int:
    return main(["flash", "--image", str(image), "--out", str(out), *DEVICE, *more])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of the error."""
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_the_copy_has_the_devices_files_and_is_a_sound_file_system(stock: Path, tmp_path: Path) -> None:
    out = tmp_path / "kitchen-1.img"
    assert flash(stock, out) == 0
    check_fat(out, offset=BOOT_START, size=6 * MIB)
    files = read_files(out, offset=BOOT_START)
    assert b'name = "kitchen-1"' in files["edgeflock/device.toml"]
    assert files["cmdline.txt"].startswith(STOCK_FILES["cmdline.txt"].rstrip())
    assert files["issue.txt"] == STOCK_FILES["issue.txt"]


def test_all_outside_the_boot_partition_is_the_stock_image(stock: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    flash(stock, out)
    ours, theirs = out.read_bytes(), stock.read_bytes()
    assert len(ours) == len(theirs)
    assert ours[:BOOT_START] == theirs[:BOOT_START]
    assert ours[BOOT_START + 6 * MIB :] == theirs[BOOT_START + 6 * MIB :]


def test_the_copy_takes_only_the_room_of_what_is_in_it(stock: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    flash(stock, out)
    assert out.stat().st_blocks * 512 < out.stat().st_size / 4


def test_only_its_owner_may_read_an_image_with_secrets_in_it(stock: Path, tmp_path: Path) -> None:
    flash(stock, tmp_path / "out.img")
    assert (tmp_path / "out.img").stat().st_mode & 0o777 == 0o600


def test_fat32_in_a_gpt_is_taken_too(tmp_path: Path) -> None:
    image = make_image(tmp_path / "gpt.img", label="gpt")
    assert flash(image, tmp_path / "out.img") == 0
    check_fat(tmp_path / "out.img", offset=BOOT_START, size=34 * MIB)


def zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(path, "raspios.img")
        archive.writestr("readme.txt", "read me")
    return path.with_suffix(".zip").read_bytes()


PACKERS: dict[str, Callable[[Path], bytes]] = {
    "xz": lambda path: lzma.compress(path.read_bytes(), preset=0),
    "gz": lambda path: gzip.compress(path.read_bytes(), compresslevel=1),
    "bz2": lambda path: bz2.compress(path.read_bytes(), compresslevel=1),
    "zip": zipped,
}


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_image_gives_the_same_as_the_plain_one(kind: str, stock: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.img"
    shutil.copy(stock, plain)
    packed = tmp_path / "raspios"  # its name says nothing
    packed.write_bytes(PACKERS[kind](plain))
    assert flash(packed, tmp_path / "out.img") == 0
    assert flash(stock, tmp_path / "again.img") == 0
    for path in (tmp_path / "out.img", tmp_path / "again.img"):
        assert len(read_files(path, offset=BOOT_START)) > len(STOCK_FILES)
    assert read_files(tmp_path / "out.img", offset=BOOT_START) == read_files(
        tmp_path / "again.img", offset=BOOT_START
    )
    assert (tmp_path / "out.img").stat().st_size == stock.stat().st_size


@pytest.mark.parametrize("kind", ["xz", "gz"])
def test_a_packed_image_that_is_cut_off_leaves_nothing(
    kind: str, stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "cut.img"
    whole = PACKERS[kind](stock)
    packed.write_bytes(whole[: len(whole) * 9 // 10])
    assert flash(packed, tmp_path / "out.img") == 2
    assert "is damaged or cut off" in said(capsys)
    assert [*tmp_path.iterdir()] == [packed]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({8: 1}, "is encrypted"),
        ({10: 99}, "compression method"),
        ({9: 8, 46: 0xFF}, "is damaged or cut off"),
    ],
    ids=["password", "unknown method", "name that is no UTF-8"],
)
def test_a_zip_that_python_cannot_unpack_is_told_in_one_line(
    changes: dict[int, int], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raspios").write_bytes(bytes(MIB))
    data = bytearray(zipped(tmp_path / "raspios"))
    record = data.find(b"PK\x01\x02")  # of the table at the end
    for place, value in changes.items():
        data[record + place] = value
    (tmp_path / "raspios.zip").write_bytes(data)
    assert flash(tmp_path / "raspios.zip", tmp_path / "out.img") == 2
    assert complaint in said(capsys)


def test_an_image_that_cannot_be_read_is_not_taken_for_a_copy_that_cannot_be_written(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    opener = card_image._open_xz
    packed = tmp_path / "raspios.img.xz"
    packed.write_bytes(PACKERS["xz"](stock))
    opened: list[object] = []

    def fail_at_the_second(file: BinaryIO, path: Path) -> BinaryIO:
        opened.append(file)
        return Broken() if len(opened) > 1 else opener(file, path)

    monkeypatch.setitem(card_image._OPENERS, b"\xfd7zXZ\0", fail_at_the_second)
    assert flash(packed, tmp_path / "out.img") == 1
    assert said(capsys) == f"edgeflock: {packed} cannot be read: Input/output error"
    assert [*tmp_path.iterdir()] == [packed]


def test_a_zst_without_a_library_says_how_to_unpack_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    image = tmp_path / "raspios.img.zst"
    image.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    assert flash(image, tmp_path / "out.img") == 2
    assert "`unzstd " in said(capsys)


def test_a_second_flash_has_nothing_to_do_and_says_so(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.img"
    flash(stock, out)
    before = out.stat()
    capsys.readouterr()
    assert flash(stock, out) == 0
    assert f"nothing to do: {out} is kitchen-1 already" in capsys.readouterr().out
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("shares", [True, False], ids=["shared blocks", "copied"])
def test_an_image_that_ends_within_a_sector_is_known_again(
    shares: bool,
    stock: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def share(descriptor: int, _: int, source: int) -> None:  # what Btrfs does
        if not shares:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        os.copy_file_range(source, descriptor, os.fstat(source).st_size)

    monkeypatch.setattr(fcntl, "ioctl", share)
    image, out = tmp_path / "odd.img", tmp_path / "out.img"
    shutil.copy(stock, image)
    with image.open("ab") as file:
        file.write(b"odd")
    assert flash(image, out) == 0
    assert flash(image, out) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_name_that_is_no_utf8_is_shown_and_not_stumbled_over(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / os.fsdecode(b"k\xff.img")
    assert flash(stock, out) == 0
    assert out.exists()
    shown = capsys.readouterr().out
    assert "k\\xff.img: raspios.img and " in shown
    shown.encode()


def test_another_devices_image_is_written_over_only_with_force(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.img"
    flash(stock, out)
    before = digest(out)
    capsys.readouterr()
    assert flash(stock, out, "--model", "other") == 2
    assert "is there already" in said(capsys)
    assert digest(out) == before
    assert flash(stock, out, "--model", "other", "--force") == 0
    assert b'"other"' in read_files(out, offset=BOOT_START)["edgeflock/device.toml"]


def test_a_prepared_image_may_be_the_beginning_of_the_next(stock: Path, tmp_path: Path) -> None:
    flash(stock, tmp_path / "first.img")
    assert flash(tmp_path / "first.img", tmp_path / "second.img", "--model", "other") == 0
    assert b'"other"' in read_files(tmp_path / "second.img", offset=BOOT_START)["edgeflock/device.toml"]


@pytest.mark.parametrize("link", ["same name", "symbolic", "hard"])
def test_the_image_itself_is_refused_as_the_copy(
    link: str, tmp_path: Path, stock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "own.img"
    shutil.copy(stock, image)
    out = tmp_path / "link.img"
    if link == "same name":
        out = image
    elif link == "symbolic":
        out.symlink_to(image)
    else:
        out.hardlink_to(image)
    assert flash(image, out, "--force") == 2
    assert "is the image itself" in said(capsys)
    assert digest(image) == digest(stock)


def test_only_a_file_in_a_folder_that_is_there_becomes_the_copy(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = tmp_path / "sdx"  # stands in for a disk, which --out would take from under its name
    os.mkfifo(node)
    assert flash(stock, node, "--force") == 2
    assert "--write-to is for cards" in said(capsys)
    assert node.is_fifo()
    assert flash(stock, tmp_path, "--force") == 2
    assert "is no file" in said(capsys)
    assert flash(stock, tmp_path / "missing" / "out.img") == 2
    assert f"there is no folder {tmp_path / 'missing'}, make it first" in said(capsys)
    assert [*tmp_path.iterdir()] == [node]


def test_a_file_that_is_no_image_is_refused_by_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thesis = tmp_path / "thesis.pdf"
    thesis.write_bytes(b"%PDF-1.7" + bytes(5000))
    assert flash(thesis, tmp_path / "out.img") == 2
    assert "no partition table" in said(capsys)
    assert flash(tmp_path / "nothing.img", tmp_path / "out.img") == 2
    assert "no such file" in said(capsys)
    assert flash(tmp_path, tmp_path / "out.img") == 2
    assert [*tmp_path.iterdir()] == [thesis]


def test_an_image_that_is_cut_off_is_refused(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "cut.img"
    with stock.open("rb") as file:
        image.write_bytes(file.read(8 * MIB))
    assert flash(image, tmp_path / "out.img") == 2
    assert "is cut off: its partitions need" in said(capsys)
    assert [*tmp_path.iterdir()] == [image]


def test_an_unknown_system_is_refused_before_anything_is_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_image(tmp_path / "other.img", {"thesis.tex": b"x"}, boot_mib=6, bits=16)
    before = digest(image)
    assert flash(image, tmp_path / "out.img") == 2
    assert "thesis.tex" in said(capsys)
    assert [*tmp_path.iterdir()] == [image]
    assert digest(image) == before


def test_a_full_boot_partition_leaves_no_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = make_image(tmp_path / "full.img", boot_mib=6, bits=16)
    with image.open("r+b") as file:
        boot = open_fat(
            FileMedium(file.fileno()), Partition(BOOT_START, 6 * MIB, is_fat=True), "full", datetime.now()
        )
        boot.write("filler", bytes(boot.free_bytes() - 4 * 512))
    before = digest(image)
    assert flash(image, tmp_path / "out.img") == 1
    assert "full.img is full: " in said(capsys)
    assert [*tmp_path.iterdir()] == [image]
    assert digest(image) == before


def test_an_image_whose_files_share_clusters_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_image(tmp_path / "crossed.img", boot_mib=6, bits=16)
    data = bytearray(image.read_bytes())
    config, issue = (data.index(name) + 26 for name in (b"CONFIG  TXT", b"ISSUE   TXT"))
    data[issue : issue + 2] = data[config : config + 2]
    image.write_bytes(data)
    assert flash(image, tmp_path / "out.img") == 1
    assert said(capsys).endswith("two files share clusters): check it with fsck.vfat")
    assert [*tmp_path.iterdir()] == [image]


def test_a_full_disk_leaves_no_copy(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_until_full(descriptor: int, chunk: bytes, offset: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_copy, "_clone", lambda *_: False)
    monkeypatch.setattr(image_copy, "_write_sparse", write_until_full)
    assert flash(stock, tmp_path / "out.img") == 1
    assert "out.img cannot be written: No space left on device" in said(capsys)
    assert [*tmp_path.iterdir()] == []


def test_two_at_a_time_do_not_write_the_same_copy(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.img"
    with image_copy.new_image(out) as descriptor:
        assert flash(stock, out) == 1
        assert "another flash writes" in said(capsys)
        os.write(descriptor, b"first")
    assert out.read_bytes() == b"first"


def test_a_copy_that_was_finished_between_opening_and_locking_is_not_written_over(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.img"
    lock = fcntl.flock

    def finish_first(descriptor: int, how: int) -> None:
        (tmp_path / ".out.img.part").replace(out)
        out.write_bytes(b"first")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    assert flash(stock, out) == 1
    assert "another flash writes" in said(capsys)
    assert out.read_bytes() == b"first"


def test_what_somebody_laid_under_the_name_of_the_unfinished_copy_gets_no_secrets(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, out, other = tmp_path / ".out.img.part", tmp_path / "out.img", tmp_path / "other"
    other.write_bytes(b"someone's")
    part.symlink_to(other)
    assert flash(stock, out) == 2
    assert "cannot be written" in said(capsys)
    assert other.read_bytes() == b"someone's"
    part.unlink()
    part.touch(0o644)
    assert flash(stock, out) == 0
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_process_that_is_killed_leaves_no_half_image_under_the_name(tmp_path: Path) -> None:
    plain = make_image(tmp_path / "raspios.img", boot_mib=6, root_mib=24, bits=16)
    image = tmp_path / "raspios.img.gz"
    with plain.open("r+b") as file:  # something that takes a while to unpack and write
        file.seek(BOOT_START + 7 * MIB)
        file.write(os.urandom(20 * MIB))
    image.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))
    before, out = digest(image), tmp_path / "out.img"
    command = [sys.executable, "-m", "edgeflock", "flash", "--image", str(image), "--out", str(out), *DEVICE]
    process = subprocess.Popen(command)
    deadline = Deadline.after(60)
    part = tmp_path / ".out.img.part"
    while not _is_begun(part) and process.poll() is None and not deadline.passed:
        pass
    process.kill()
    process.wait()
    assert part.exists()
    assert not out.exists()
    assert digest(image) == before
    assert subprocess.run(command, check=False).returncode == 0
    assert out.exists()
    assert not part.exists()


def _is_begun(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size > 0
    return False


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--image", "x"], "--out FILE or --write-to DISK"),
        (["--boot", "x", "--out", "y"], "go with --image"),
        (["--boot", "x", "--fleet", "y"], "go with --image"),
    ],
)
def test_options_that_do_not_fit_are_told(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flash", *arguments, *DEVICE]) == 2
    assert complaint in said(capsys)
