"""`flash --image --write-to`: the card holds the image and the device, or a person is told why not."""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflock import main
from fleet.provision import image_flash
from fleet.provision.adapters.card_image import CardImage, open_image
from fleet.provision.adapters.disk_medium import DiskMedium
from fleet.provision.card import DeviceCard
from fleet.provision.orders import Order
from fleet.provision.reader import CardReader
from fleet.releasing import quiet
from tests.support.card_images import BOOT_START, MIB, check_fat, make_image, needs_card_tools, read_files
from tests.support.fake_disks import FakeDisks, card
from wire.errors import SettingsError, UnavailableError

pytestmark = needs_card_tools

KITCHEN = DeviceCard("kitchen-1", "hub.local", "digits")
READER = Path("/dev/sdx")
CARD_BYTES = 20 * MIB


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> CardImage:
    return open_image(make_image(tmp_path_factory.mktemp("stock") / "raspios.img", boot_mib=6, bits=16))


@pytest.fixture
def disks(tmp_path: Path) -> FakeDisks:
    disks = FakeDisks()
    disks.inserted = card(tmp_path / "card", CARD_BYTES)
    return disks


def order(device: DeviceCard = KITCHEN) -> Order:
    return Order(device, lambda: device)


def reader(disks: FakeDisks, *, force: bool = False) -> CardReader:
    return CardReader(disks, READER, force, lambda _: None)


def flash(disks: FakeDisks, image: CardImage, device: DeviceCard = KITCHEN) -> None:
    made = reader(disks)
    made.ask(image)
    made.flash(order(device), image, made.get_ready(image), quiet)


def test_the_card_holds_the_image_and_the_devices_files(disks: FakeDisks, image: CardImage) -> None:
    path = disks.inserted
    assert path is not None
    flash(disks, image)
    check_fat(path, offset=BOOT_START, size=6 * MIB)
    assert b'name = "kitchen-1"' in read_files(path, offset=BOOT_START)["edgeflock/device.toml"]
    ours, theirs = path.read_bytes(), image.path.read_bytes()
    end = BOOT_START + 6 * MIB
    assert (ours[:BOOT_START], ours[end : len(theirs)]) == (theirs[:BOOT_START], theirs[end:])
    assert ours[len(theirs) :] == b"\xa5" * (CARD_BYTES - len(theirs))


def test_a_packed_image_is_unpacked_on_the_way(disks: FakeDisks, image: CardImage, tmp_path: Path) -> None:
    packed = tmp_path / "raspios.img.xz"
    packed.write_bytes(lzma.compress(image.path.read_bytes(), preset=0))
    flash(disks, open_image(packed))
    assert disks.inserted is not None
    assert b'name = "kitchen-1"' in read_files(disks.inserted, offset=BOOT_START)["edgeflock/device.toml"]


def test_what_a_desktop_has_mounted_is_unmounted_first(disks: FakeDisks, image: CardImage) -> None:
    disks.mounts = ("/media/me/bootfs", "/media/me/rootfs")
    flash(disks, image)
    assert disks.unmounted == ["/media/me/bootfs", "/media/me/rootfs"]


def test_a_card_that_is_too_small_is_not_touched(tmp_path: Path, image: CardImage) -> None:
    disks = FakeDisks()
    disks.inserted = card(tmp_path / "small", 12 * MIB)
    with pytest.raises(SettingsError, match="has 12,582,912 bytes and the image needs"):
        flash(disks, image)
    assert disks.inserted.read_bytes() == b"\xa5" * 12 * MIB


class Spoiled(DiskMedium):
    """A disk that fails from a place on: pulled out, or made to look larger than it is."""

    def __init__(self, medium: DiskMedium, place: int, *, how: str) -> None:
        super().__init__(medium._descriptor, None)
        self._place, self._how = place, how

    def write_at(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self._place:
            if self._how == "pulled":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self._how == "counterfeit":
                offset %= self._place
        super().write_at(offset, data)

    def read_at(self, offset: int, count: int) -> bytes:
        if self._how == "unreadable" and offset + count > self._place:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        if self._how == "pulled when verified" and count < MIB:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return super().read_at(offset, count)

    def sync(self) -> None:
        if self._how == "pulled at the end":
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        super().sync()


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("pulled", r"/dev/sdx was pulled out or is broken, after 8 MB were written \(Input/output error\)"),
        ("pulled at the end", r"was pulled out or is broken, after 16 MB were written \(No such device\)"),
        ("unreadable", r"pulled out or is broken, after 8 MB were read back \(No such device or address\)"),
        ("pulled when verified", r"cannot read /dev/sdx: No such device"),
        ("counterfeit", r"does not hold what was written, from 4 MB on: use another card"),
    ],
)
def test_a_card_that_fails_is_told_in_one_line(
    disks: FakeDisks, image: CardImage, how: str, complaint: str
) -> None:
    disks.spoil = lambda medium: Spoiled(medium, 10 * MIB, how=how)
    before = hashlib.sha256(image.path.read_bytes()).digest()
    with pytest.raises(UnavailableError, match=complaint) as failure:
        flash(disks, image)
    assert "\n" not in str(failure.value)
    assert hashlib.sha256(image.path.read_bytes()).digest() == before


def test_a_packed_image_that_turns_out_larger_than_the_card_stops_there(
    image: CardImage, tmp_path: Path
) -> None:
    large = tmp_path / "large.img"
    shutil.copy(image.path, large)
    with large.open("r+b") as file:
        file.truncate(24 * MIB)
    packed = tmp_path / "large.img.xz"
    packed.write_bytes(lzma.compress(large.read_bytes(), preset=0))
    disks = FakeDisks()
    disks.inserted = card(tmp_path / "card", CARD_BYTES)
    with pytest.raises(UnavailableError, match="too small for the image"):
        flash(disks, open_image(packed))


# --- one card after the other -------------------------------------------------------------------


def test_a_card_that_was_just_made_is_not_taken_for_the_next(disks: FakeDisks, image: CardImage) -> None:
    made = reader(disks)
    made.ask(image)
    made.flash(order(), image, made.get_ready(image), quiet)
    pauses = 0

    def pause() -> None:  # the person takes it out at the third look
        nonlocal pauses
        pauses += 1
        if pauses == 3:
            disks.inserted = None
        if pauses == 5 and disks.inserted is None:
            disks.inserted = card(Path(old).with_name("next"), CARD_BYTES)

    old = str(disks.inserted)
    made.wait(image, pause)
    assert pauses == 5
    assert disks.inserted is not None
    assert disks.inserted.name == "next"


def test_another_disk_under_the_same_name_is_not_written(disks: FakeDisks, image: CardImage) -> None:
    made = reader(disks)
    made.ask(image)
    disks.reader = "Some backup disk"
    with pytest.raises(SettingsError, match="is another disk than before"):
        made.get_ready(image)


# --- the command, and the real thing ------------------------------------------------------------


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A loop device: as much of a real disk as a machine for tests has."""
    backing = card(tmp_path / "backing", CARD_BYTES)
    if shutil.which("losetup") is None or os.geteuid() != 0:
        pytest.skip("a loop device needs losetup and root")
    done = subprocess.run(["losetup", "-f", "--show", backing], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    device = Path(done.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def run(image: Path, disk: Path, *more: str) -> int:
    device = ("--device", "kitchen-1", "--broker", "hub.local", "--unsigned")
    return main(["flash", "--image", str(image), "--write-to", str(disk), *device, *more])


def test_a_real_disk_is_written_directly_verified_and_patched(
    loop: Path, image: CardImage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(image.path, loop, "--yes") == 2
    assert "cannot be taken out of this computer: --force" in capsys.readouterr().err
    assert run(image.path, loop, "--yes", "--force") == 0
    out = capsys.readouterr().out
    assert f"wrote {loop}: raspios.img and " in out
    assert out.splitlines()[-1].startswith("next: ")
    check_fat(loop, offset=BOOT_START, size=6 * MIB)
    assert b'name = "kitchen-1"' in read_files(loop, offset=BOOT_START)["edgeflock/device.toml"]


def test_a_disk_that_someone_holds_is_refused(
    loop: Path, image: CardImage, capsys: pytest.CaptureFixture[str]
) -> None:
    held = os.open(loop, os.O_RDWR | os.O_EXCL)
    try:
        assert run(image.path, loop, "--yes", "--force") == 2
    finally:
        os.close(held)
    assert f"{loop} is in use" in capsys.readouterr().err


def test_nobody_to_ask_means_no(loop: Path, image: CardImage, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashlib.sha256(loop.read_bytes()).digest()
    assert run(image.path, loop, "--force") == 2
    assert "--yes says that it is the right disk" in capsys.readouterr().err
    assert hashlib.sha256(loop.read_bytes()).digest() == before


def test_an_end_of_input_or_no_input_at_all_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", end)
    with pytest.raises(SettingsError, match="nothing was written"):
        image_flash.ask(FakeDisks().look(READER))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SettingsError, match="nobody to ask"):
        image_flash.ask(FakeDisks().look(READER))


@pytest.mark.parametrize("typed", ["", "sdy", "yes"])
def test_anything_but_the_disks_name_is_a_no(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: typed)
    with pytest.raises(SettingsError, match="nothing was written"):
        image_flash.ask(FakeDisks().look(READER))
    monkeypatch.setattr("builtins.input", lambda _: " sdx ")
    image_flash.ask(FakeDisks().look(READER))
