"""Which disks may be written: the rules, and what Linux says of a disk in a /sys and /proc of our own."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.provision.adapters.linux_disks import LinuxDisks, check_system
from fleet.provision.disk_rules import Disk, check_disk
from wire.errors import SettingsError

GB = 10**9
CARD = Disk("/dev/sdb", 32 * GB, 512, "Generic Reader", is_removable=True, is_read_only=False)


def test_a_card_that_nobody_uses_is_taken() -> None:
    check_disk(CARD, 4 * GB, force=False)


def test_a_card_that_a_desktop_has_mounted_is_taken() -> None:
    check_disk(replace(CARD, mounts=("/media/me/bootfs", "/run/media/me/rootfs")), 4 * GB, force=False)


REFUSED = {
    "ours": (
        replace(CARD, ours=("/", "/home/me/fleet-state")),
        "holds / and /home/me/fleet-state: it is never",
    ),
    "used": (replace(CARD, users=("dm-0", "swap")), "in use by dm-0, swap"),
    "internal": (replace(CARD, is_removable=False), r"\(Generic Reader, 32.0 GB\) cannot be taken out"),
    "mounted": (replace(CARD, mounts=("/srv/data",)), "is mounted at /srv/data: `umount /srv/data`"),
    "locked": (replace(CARD, is_read_only=True), "read-only"),
    "sectors": (replace(CARD, sector_bytes=4096), "sectors of 4096 bytes"),
    "empty": (replace(CARD, size_bytes=0), "has no card in it"),
    "small": (replace(CARD, size_bytes=2 * GB), "has 2,000,000,000 bytes and the image needs 4,000,000,000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_disk_that_must_not_be_written_is_refused_with_the_reason(case: str) -> None:
    disk, complaint = REFUSED[case]
    with pytest.raises(SettingsError, match=complaint):
        check_disk(disk, 4 * GB, force=False)


@pytest.mark.parametrize("case", REFUSED)
def test_force_lifts_two_refusals_and_no_other(case: str) -> None:
    disk, complaint = REFUSED[case]
    if case in ("internal", "mounted"):
        check_disk(disk, 4 * GB, force=True)
    else:
        with pytest.raises(SettingsError, match=complaint):
            check_disk(disk, 4 * GB, force=True)


# --- what Linux says ----------------------------------------------------------------------------


class Computer:
    """A /sys, /proc and /dev with a system disk, a reader, a slot and an encrypted volume."""

    def __init__(self, root: Path) -> None:
        self.sys, self.proc, self.dev = root / "sys", root / "proc", root / "dev"
        (self.sys / "class/block").mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        self.dev.mkdir()
        self.mounted: list[str] = []
        self.add_disk("sda", "8:0", model="Samsung SSD", parts={"sda1": "8:1", "sda2": "8:2"})
        self.add_disk("sdb", "8:16", removable=1, model="Storage Device", parts={"sdb1": "8:17"})
        self.add_disk("mmcblk0", "179:0", kind="SD", parts={"mmcblk0p1": "179:1"})
        self.add_disk("mmcblk1", "179:8", kind="MMC")
        self.add_disk("dm-0", "254:0")
        self.link("sda2", holder="dm-0")
        self.mount("254:0", "/", "/dev/mapper/crypt")
        self.mount("8:1", "/boot", "/dev/sda1")
        self.swaps("")

    def add_disk(
        self,
        name: str,
        number: str,
        *,
        removable: int = 0,
        model: str = "",
        kind: str = "",
        parts: object = None,
    ) -> None:
        folder = self.sys / "devices" / name
        for inner, inner_number in {"": number, **dict(parts or {})}.items():  # type: ignore[call-overload]
            part = folder / inner
            for below in ("holders", "slaves", "device", "queue"):
                (part / below).mkdir(parents=True)
            (part / "dev").write_text(f"{inner_number}\n")
            (part / "size").write_text("62333952\n")
            (self.sys / "class/block" / (inner or name)).symlink_to(part)
            (self.dev / (inner or name)).write_bytes(b"")
            if inner:
                (part / "partition").write_text("1\n")
        (folder / "removable").write_text(f"{removable}\n")
        (folder / "ro").write_text("0\n")
        (folder / "queue/logical_block_size").write_text("512\n")
        if model:
            (folder / "device/model").write_text(f"{model}  \n")
        if kind:
            (folder / "device/type").write_text(f"{kind}\n")

    def link(self, below: str, *, holder: str) -> None:
        (self.sys / "class/block" / below / "holders" / holder).mkdir()
        (self.sys / "class/block" / holder / "slaves" / below).mkdir()

    def mount(self, number: str, point: str, source: str) -> None:
        self.mounted.append(f"36 25 {number} / {point} rw,relatime shared:1 - ext4 {source} rw")
        (self.proc / "self/mountinfo").write_text("\n".join(self.mounted) + "\n")

    def swaps(self, *names: str) -> None:
        lines = [f"{self.dev / name} partition 100 0 -2" for name in names if name]
        (self.proc / "swaps").write_text("\n".join(["Filename Type Size Used Priority", *lines]) + "\n")

    def disks(self, *protected: Path) -> LinuxDisks:
        return LinuxDisks(protected, sys_root=self.sys, proc_root=self.proc, dev_root=self.dev)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


def test_a_card_in_a_reader_is_known_by_size_and_model(computer: Computer) -> None:
    disk = computer.disks().look(computer.dev / "sdb")
    assert disk == Disk(
        str(computer.dev / "sdb"), 62333952 * 512, 512, "Storage Device", True, False, "Storage Device"
    )


def test_a_slot_for_cards_counts_as_removable_and_soldered_flash_does_not(computer: Computer) -> None:
    assert computer.disks().look(computer.dev / "mmcblk0").is_removable
    assert not computer.disks().look(computer.dev / "mmcblk1").is_removable


def test_the_disk_below_an_encrypted_root_is_ours(computer: Computer) -> None:
    assert computer.disks().look(computer.dev / "sda").ours == ("/",)
    assert computer.disks().look(computer.dev / "sdb").ours == ()


def test_the_disk_of_the_fleets_state_is_ours(computer: Computer, tmp_path: Path) -> None:
    computer.mount("8:17", str(tmp_path), "/dev/sdb1")
    state = tmp_path / "not" / "there" / "yet"
    assert computer.disks(state).look(computer.dev / "sdb").ours == (str(state),)


def test_a_file_system_on_no_single_device_is_found_by_what_it_was_mounted_from(computer: Computer) -> None:
    computer.mount("0:31", "/", str(computer.dev / "mmcblk0p1"))  # Btrfs
    assert computer.disks().look(computer.dev / "mmcblk0").ours == ("/",)


def test_mounts_of_all_partitions_are_seen(computer: Computer) -> None:
    computer.mount("8:17", "/media/me/with\\040space", "/dev/sdb1")
    assert computer.disks().look(computer.dev / "sdb").mounts == ("/media/me/with space",)


def test_swap_and_holders_are_users(computer: Computer) -> None:
    computer.swaps("sdb1")
    computer.link("sdb1", holder="dm-0")
    assert computer.disks().look(computer.dev / "sdb").users == ("dm-0", "swap")


def test_a_link_leads_to_the_disk(computer: Computer) -> None:
    (computer.dev / "disk").mkdir()
    (computer.dev / "disk/by-id-reader").symlink_to(computer.dev / "sdb")
    assert computer.disks().look(computer.dev / "disk/by-id-reader").path == str(computer.dev / "sdb")


def test_a_part_of_a_disk_is_refused_and_the_whole_named(computer: Computer) -> None:
    with pytest.raises(SettingsError, match=r"is a part of a disk: name the whole, .*/dev/sdb$"):
        computer.disks().look(computer.dev / "sdb1")


@pytest.mark.parametrize("name", ["dev/sdz", "elsewhere/sdb", "dev"])
def test_what_is_no_disk_is_refused_and_the_cards_named(
    computer: Computer, tmp_path: Path, name: str
) -> None:
    with pytest.raises(
        SettingsError, match=r"is no disk; those that can be taken out are: .*mmcblk0, .*sdb$"
    ):
        computer.disks().look(tmp_path / name)


def test_an_empty_reader_has_no_card(computer: Computer) -> None:
    assert computer.disks().is_there(computer.dev / "sdb")
    (computer.sys / "devices/sdb/size").write_text("0\n")
    assert not computer.disks().is_there(computer.dev / "sdb")
    os.unlink(computer.dev / "mmcblk0")
    assert not computer.disks().is_there(computer.dev / "mmcblk0")


def test_elsewhere_than_on_linux_disks_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SettingsError, match="make an image with --out"):
        check_system()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at this computer's own disks")
def test_the_disk_that_this_very_system_runs_from_is_refused() -> None:
    disks = LinuxDisks([])
    names = [link.name for link in Path("/sys/class/block").iterdir() if not (link / "partition").exists()]
    seen = [disks.look(Path("/dev") / name) for name in names if (Path("/dev") / name).exists()]
    ours = [disk for disk in seen if disk.ours]
    if not ours:
        pytest.skip("this system's root is on no disk that /sys tells of")
    for disk in ours:
        with pytest.raises(SettingsError, match="it is never written"):
            check_disk(disk, 1, force=True)
