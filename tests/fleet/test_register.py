"""What a fleet remembers of its flashes: a board keeps its id."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fleet.provision.adapters.register_file import RegisterFile
from fleet.provision.card import DeviceCard
from fleet.provision.inventory import Entry
from fleet.provision.register import Flashed, Register, forget, note, settle
from wire.errors import SettingsError

LIST = "devices.csv"
_NOBODY = 65534


def entry(name: str, serial: str | None = None, slot: str | None = None, *, named: bool = True) -> Entry:
    return Entry(DeviceCard(name, "hub", "digits"), serial, slot, "row 2", named=named)


KITCHEN = note(Register(), entry("kitchen-1", "s1", "left"), 1.0)


def test_a_board_keeps_its_id() -> None:
    assert settle(KITCHEN, entry("pi-s1", "s1", named=False), LIST).card.name == "kitchen-1"
    assert settle(KITCHEN, entry("left", None, "left", named=False), LIST).card.name == "kitchen-1"


def test_another_board_gets_another_id() -> None:
    assert settle(KITCHEN, entry("pi-s2", "s2", "left", named=False), LIST).card.name == "pi-s2"


def test_a_known_board_under_another_id_is_refused() -> None:
    complaint = r"^devices\.csv row 2: serial s1 is 'kitchen-1' in this fleet, not 'hall-1'"
    with pytest.raises(SettingsError, match=complaint):
        settle(KITCHEN, entry("hall-1", "s1"), LIST)
    assert settle(KITCHEN, entry("kitchen-1", "s1"), LIST).card.name == "kitchen-1"


def test_a_broken_board_gives_its_id_to_the_next() -> None:
    now = note(KITCHEN, entry("kitchen-1", "s2", "left"), 2.0)
    assert now.devices == (Flashed("kitchen-1", "s2", "left", 2.0),)


def test_a_place_is_taken_by_the_next_board_and_the_first_is_still_known() -> None:
    now = note(KITCHEN, entry("hall-1", "s2", "left"), 2.0)
    assert now.devices == (Flashed("kitchen-1", "s1", None, 1.0), Flashed("hall-1", "s2", "left", 2.0))


def test_a_device_without_board_or_place_is_not_noted() -> None:
    assert note(KITCHEN, entry("cellar-1"), 2.0) == KITCHEN


def test_a_serial_number_stays_known_where_only_the_place_is_given() -> None:
    assert note(KITCHEN, entry("kitchen-1", None, "left"), 2.0).devices[0].serial == "s1"


def test_a_forgotten_board_may_have_any_id() -> None:
    assert settle(forget(KITCHEN, "kitchen-1"), entry("hall-1", "s1"), LIST).card.name == "hall-1"


def test_the_file_is_kept_and_several_may_write_it(tmp_path: Path) -> None:
    def add(number: int) -> None:
        RegisterFile(tmp_path).change(lambda old: note(old, entry(f"d{number}", f"s{number}"), 1.0))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = RegisterFile(tmp_path).read()
    assert sorted(device.device for device in found.devices) == [f"d{number}" for number in range(8)]
    assert replace(found, devices=()) == Register()


def test_a_spoiled_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "flashed.json").write_text("{")
    with pytest.raises(SettingsError, match=r"flashed\.json"):
        RegisterFile(tmp_path).read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves files that are not the user's")
def test_after_a_flash_with_sudo_the_fleets_user_goes_on() -> None:
    with TemporaryDirectory() as folder:  # below what others may enter, unlike tmp_path
        os.chown(folder, _NOBODY, -1)
        register = RegisterFile(Path(folder))
        register.change(lambda old: note(old, entry("d1", "s1"), 1.0))
        os.seteuid(_NOBODY)
        try:
            register.change(lambda old: forget(old, "d1"))
        finally:
            os.seteuid(0)
        assert register.read() == Register()
