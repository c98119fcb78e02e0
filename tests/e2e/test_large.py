"""A bundle of any size passes through server, broker and device in constant memory: real processes."""

from __future__ import annotations

import hashlib
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters.broker import find_mosquitto, free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.releasing import Built
from tests.support.device_process import forget_most, memory_mib
from tests.support.examples import MANIFEST
from tests.support.local_fleet import ROOT, edgeflock
from tests.support.needs import needs_peaks
from wire.adapters.paho_link import BrokerAddress
from wire.blob import describe, digest_list
from wire.deadline import Deadline, wait_until
from wire.messages import Release

pytestmark = [
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
    needs_peaks,
]

#: xz's dictionary of 8 MiB, chunks on their way, and what the allocator keeps.
DEVICE_MIB = 20
#: 200 chunks that the broker has not acknowledged, twice.
SERVER_MIB = 32


def incompressible(size_bytes: int) -> Built:
    """Return a release of noise, with the largest dictionary that a device takes."""
    bundle = os.urandom(size_bytes)
    quick = {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 8 << 20}
    blob = lzma.compress(bundle, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=[quick])
    sha256 = hashlib.sha256(bundle).hexdigest()
    return Built(
        Release("digits/1", sha256, size_bytes, (describe(blob),), MANIFEST), blob, digest_list(blob)
    )


@pytest.mark.parametrize(
    "size_bytes",
    [12_000_000, pytest.param(100_000_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
def test_neither_device_nor_server_grows_with_the_blob(tmp_path: Path, size_bytes: int) -> None:
    broker = start_broker(tmp_path / "broker", BrokerAddress("127.0.0.1", free_port()), kind="mosquitto")
    state, port = tmp_path / "fleet", str(broker.address.port)
    serve = edgeflock(
        "fleet", "serve", "--unsigned", "--no-web", "--state", state, "--broker", f"127.0.0.1:{port}"
    )
    run = [sys.executable, "-m", "tests.support.device_process", str(tmp_path / "pi-1"), port]
    log = tmp_path / "server.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(serve, cwd=ROOT, stderr=said) as server,
        subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, text=True) as device,
    ):
        try:
            assert device.stdout is not None
            device_before, _ = map(float, device.stdout.readline().split())
            assert wait_until(lambda: "serving the fleet" in log.read_text(), Deadline.after(30))
            forget_most(server.pid)
            server_before, _ = memory_mib(server.pid)
            database = Database(state).open()
            registry = Registry(database).open()
            registry.plan(registry.add_release(incompressible(size_bytes)), "all")
            database.close()
            _, device_most, error = device.stdout.readline().split()
            _, server_most = memory_mib(server.pid)
        finally:
            for process in (device, server):
                process.terminate()
            broker.stop()
    growth = (float(device_most) - device_before, server_most - server_before)
    print(f"{size_bytes} bytes: device +{growth[0]:.1f} MiB, server +{growth[1]:.1f} MiB")
    assert error == "None"
    assert growth[0] < DEVICE_MIB
    assert growth[1] < SERVER_MIB
