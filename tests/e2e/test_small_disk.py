"""A disk that is too small for an update: refused before the first byte, and made good when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.training import Bundles


class SmallDisk:
    """A file system of so many megabytes in memory. Needs root."""

    def __init__(self, mount: Path, megabytes: int) -> None:
        self.mount = mount
        mount.mkdir()
        self._do("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(mount))

    def grow(self, megabytes: int) -> None:
        """Give it room, as who tidies up does."""
        self._do("mount", "-o", f"remount,size={megabytes}m", str(self.mount))

    def remove(self) -> None:
        self._do("umount", "-l", str(self.mount))

    @staticmethod
    def _do(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def broker_kind() -> str:
    return BROKERS[0]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    try:
        disk = SmallDisk(tmp_path / "pi-1", 12)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.decode().strip()}")
    yield disk
    disk.remove()


def test_an_update_that_does_not_fit_is_refused_before_its_first_byte_and_goes_on_with_space(
    disk: SmallDisk, fleet: LocalFleet, bundles: Bundles
) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(bundles.huge)
    fleet.wait("it is refused", lambda: "bytes free" in str(fleet.row().error))
    before = len(fleet.answered())
    fleet.wait("it goes on serving", lambda: len(fleet.answered()) >= before + 50)
    assert list((disk.mount / "parts").iterdir()) == []
    states = [e.after for _, e in fleet.reader.events("pi-1") if e.release == "digits/8"]
    assert "space" in states
    assert "download" not in states
    disk.grow(40)
    fleet.wait_for_release("digits/8")
    assert set(fleet.answered()) == {"digits/1", "digits/8"}
    assert fleet.end("pi-1") == 0
