"""Power cuts in the middle of updates: a real agent on a real file system that loses what was not synced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Counts
from tests.support.local_fleet import BROKERS, LocalFleet
from tests.support.lossy_disk import LossyDisk, unavailable
from tests.support.training import Bundles
from tests.support.update_cycle import UpdateCycle

_WRITER = """
import os, sys, time
for name in ("synced", "unsynced"):
    with open(os.path.join(sys.argv[1], name), "wb") as file:
        file.write(b"x" * 10_000)
        file.flush()
        if name == "synced":
            os.fsync(file.fileno())
print("written", flush=True)
time.sleep(60)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LossyDisk]:
    """A disk that is mounted where the state of the device `pi-1` lies."""
    if why := unavailable():
        pytest.skip(why)
    disk = LossyDisk(tmp_path / "disk.img", tmp_path / "pi-1")
    yield disk
    disk.detach()


@pytest.fixture
def broker_kind() -> str:
    return BROKERS[0]  # which one plays no part in it


def test_the_disk_loses_what_was_not_synced_and_nothing_else(disk: LossyDisk) -> None:
    command = [sys.executable, "-c", _WRITER, str(disk.mount)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout as said:
        said.readline()
        disk.cut_power(writer)
    unsynced = disk.mount / "unsynced"
    assert (disk.mount / "synced").read_bytes() == b"x" * 10_000
    assert not unsynced.exists() or unsynced.read_bytes() != b"x" * 10_000


@pytest.mark.timeout(3600)
def test_a_device_whose_power_is_cut_in_an_update_starts_serves_and_converges(
    disk: LossyDisk, fleet: LocalFleet, bundles: Bundles, counts: Counts, seed: int
) -> None:
    cycle = UpdateCycle(fleet, bundles, Random(seed))
    cycle.begin()
    for _ in range(counts.power_cuts):
        cycle.push()
        cycle.wait_for_a_moment()
        disk.cut_power(fleet.processes.pop("pi-1"))
        cycle.restart()
        cycle.converge()
    fleet.end("pi-1")
    fleet.wait("the device is offline", lambda: fleet.row().presence == "offline")
    print("cut in", dict(cycle.killed_in))
    assert cycle.wrong_answers() == []
    problems = [p for p in fleet.reader.ledger().problems if "no final report" not in p]
    assert problems == []
