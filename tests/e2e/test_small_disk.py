"""A disk that is too small for an update: refused before the first byte, and made good when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.small_disk import SmallDisk
from tests.support.software import make_software
from tests.support.training import Bundles
from wire.software import SOFTWARE


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


@pytest.mark.timeout(900)
def test_software_that_does_not_fit_is_refused_before_its_first_byte_and_goes_on_with_space(
    disk: SmallDisk, fleet: LocalFleet, bundles: Bundles, tmp_path: Path
) -> None:
    fleet.start_device()
    fleet.push(bundles.one)
    fleet.wait_for_release("digits/1")
    fleet.push(make_software(tmp_path, "0.2.0", ballast=Random(1).randbytes(1_000_000)))
    fleet.wait("it is refused", lambda: "bytes free" in str(fleet.row(model=SOFTWARE).error))
    software = disk.mount / "software"
    assert [path.name for path in software.rglob("*") if path.is_file()] == []
    disk.grow(60)
    fleet.wait("it runs", lambda: fleet.row(model=SOFTWARE).current == f"{SOFTWARE}/0.2.0", 200)
    fleet.wait("it is trusted", lambda: fleet.row(model=SOFTWARE).state == "idle", 200)
    assert fleet.end("pi-1") == 0
