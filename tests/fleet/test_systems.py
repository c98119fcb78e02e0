"""Which system an image holds is told from its boot partition."""

from __future__ import annotations

import pytest

from fleet.provision.plan import plan
from fleet.provision.systems import Os, detect_os
from tests.support.cards import BOOKWORM, BULLSEYE, CMDLINE, PLAIN, TRIXIE, UBUNTU, partition
from wire.errors import SettingsError


@pytest.mark.parametrize(
    ("files", "system"),
    [
        (TRIXIE, Os.TRIXIE),
        (UBUNTU, Os.UBUNTU),
        (BOOKWORM, Os.BOOKWORM),
        (TRIXIE | {"rpi-preseed.toml": ""}, Os.PRESEED),
        ({name.upper(): text for name, text in TRIXIE.items()}, Os.TRIXIE),
    ],
)
def test_a_system_is_known_by_its_files(files: dict[str, str], system: Os) -> None:
    assert detect_os(partition(files)) is system


@pytest.mark.parametrize("files", [TRIXIE, UBUNTU, BOOKWORM])
def test_a_flashed_card_is_known_again(files: dict[str, str]) -> None:
    boot = partition(files)
    before = detect_os(boot)
    for name, data in plan(boot, PLAIN).items():
        boot.write(name, data)
    assert detect_os(boot) is before


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "it is empty, which is no system that we know; name it with --os raspios-trixie, ubuntu"),
        ({"cmdline.txt": CMDLINE, "kernel.img": ""}, r"it has cmdline\.txt, kernel\.img, which"),
        ({f"{n}.bin": "" for n in range(9)}, "5.bin and 3 more"),
        (BULLSEYE, "of 2023-05-03 is older than Bookworm"),
    ],
)
def test_an_unknown_system_is_refused_with_what_was_found(files: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        plan(partition(files), PLAIN)


def test_a_named_system_is_taken_at_its_word() -> None:
    assert "custom.toml" in plan(partition(BOOKWORM), PLAIN, Os.BOOKWORM_TOML)
