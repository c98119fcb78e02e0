"""The service of a flashed device under a real systemd: its start, its end, and what its sandbox lets pass.

One system is started for all tests, which take their turns with it: each leaves the service running.
The server and its broker are processes on this machine.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fleet.provision import templates
from fleet.provision.card import DeviceCard
from fleet.provision.formats import render
from fleet.provision.systems import Os
from tests.support.booted_system import UNIT, BootedSystem
from tests.support.debian_root import debian_root, why_none
from tests.support.local_fleet import LocalFleet
from tests.support.locked_broker import needs_mosquitto
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.training import rewrite
from wire.codec import decode
from wire.deadline import Deadline, wait_until
from wire.messages import Telemetry, Vitals

pytestmark = [
    needs_mosquitto,
    pytest.mark.skipif(why_none() is not None, reason=f"no system is started: {why_none()}"),
    pytest.mark.timeout(600),  # the first run makes the system
]

_DEVICE = "kitchen-1"
#: As the unit, but for times: tests wait for them.
_SOONER = "[Service]\nWatchdogSec=8\nRestartSec=200ms\n"
#: What a person changes in device.toml for a source, and reports that come soon.
_CHANGES = {
    'kind = "none"\n# The file of an npz': 'kind = "npz"\n# The file of an npz',
    '#path = "/opt/edgeflock/inputs.npz"': 'path = "/opt/edgeflock/inputs.npz"',
    "#rate_hz = 10.0": "rate_hz = 50.0",
    "interval_s = 60": "interval_s = 0.5",
}
#: No card with a partition of that label is in a container.
_DATA = "[Mount]\nWhat=tmpfs\nType=tmpfs\nOptions=mode=0755\n"


class Device:
    """The device that runs, and the fleet that it belongs to."""

    def __init__(self, folder: Path, fleet: LocalFleet) -> None:
        self.fleet = fleet
        self.system = BootedSystem(folder)
        self.settings = self.system.card / "device.toml"

    def start(self) -> None:
        system = self.system
        system.lay()
        root = (self.fleet.state / "root.json").read_text()
        card = DeviceCard(_DEVICE, "127.0.0.1", "tiny", self.fleet.address.port, root=root)
        for name, text in render(templates.load(), card, Os.TRIXIE).items():
            if name.startswith("edgeflock/"):
                (system.card.parent / name).write_text(text)
        text = self.settings.read_text()
        for old, new in _CHANGES.items():
            assert old in text
            text = text.replace(old, new, 1)
        self.settings.write_text(text)
        inputs = np.random.default_rng(1).uniform(0, 40, (50, 4)).astype(np.float32)
        np.savez(system.over / "opt/edgeflock/inputs.npz", x=inputs)
        for unit, lines in ((UNIT, _SOONER), ("data.mount", _DATA)):
            drop_in = system.over / f"etc/systemd/system/{unit}.d/tests.conf"
            drop_in.parent.mkdir(exist_ok=True)
            drop_in.write_text(lines)
        system.boot("overlayroot=tmpfs:recurse=0")

    @property
    def status(self) -> str:
        return self.system.show("StatusText")

    @property
    def pid(self) -> int:
        return int(self.system.show("MainPID"))

    def settled_on(self, release: str) -> bool:
        row = self.fleet.row(_DEVICE, "tiny")
        return (row.current, row.state) == (release, "idle")

    @property
    def vitals(self) -> Vitals | None:
        """Of the last report that the server has."""
        with closing(sqlite3.connect(self.fleet.state / "fleet.db")) as database:
            found = database.execute("select telemetry from device where name = ?", (_DEVICE,)).fetchone()
        return decode(Telemetry, found[0]).vitals if found and found[0] else None

    def wait(self, what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
        if not wait_until(condition, Deadline.after(seconds), every_s=0.1):
            shown = self.system.run("systemctl", "status", "--no-pager", "--lines=30", UNIT)
            raise AssertionError(f"{what}: not within {seconds} s\n{shown}\n{self.fleet.log('server')}")

    def wait_started_anew(self, old_pid: int) -> None:
        def again() -> bool:
            return self.pid not in (0, old_pid) and self.system.show("ActiveState") == "active"

        self.wait("the service started anew", again)

    def restart(self) -> None:
        self.system.run("systemctl", "reset-failed", UNIT)
        self.system.run("systemctl", "restart", UNIT)

    def signal(self, name: str) -> int:
        """Send a signal to the service's process, which is returned."""
        pid = self.pid
        assert pid > 0, "it does not run: `kill` would take 0 for the tests' own processes"
        self.system.run("kill", f"-{name}", str(pid))
        return pid


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny-1.bundle")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    try:
        debian_root()
    except RuntimeError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("pid1")
    fleet = LocalFleet(folder, folder, "mosquitto")
    device = Device(folder / "device", fleet)
    try:
        fleet.start_broker()
        fleet.start_server()
        fleet.wait("the root of trust", (fleet.state / "root.json").exists)
        device.start()
        yield device
    finally:
        device.system.stop()
        fleet.stop()


def test_a_fresh_device_is_ready_and_says_that_it_waits(device: Device) -> None:
    device.wait("the status", lambda: device.status == "waiting for a first model of tiny")
    assert device.system.show("ActiveState") == "active"
    assert device.system.show("NRestarts") == "0"


def test_it_runs_as_nobody_in_particular_with_private_copies_of_the_cards_files(device: Device) -> None:
    system, pid = device.system, device.pid
    uid = int(re.findall(r"^Uid:\s+(\d+)", system.run("cat", f"/proc/{pid}/status"), re.MULTILINE)[0])
    assert 61184 <= uid <= 65519  # systemd's range of dynamic users
    assert system.run("stat", "--format=%a %u", "/var/lib/private/edgeflock").split() == ["700", str(uid)]
    handed = "/run/credentials/edgeflock.service"
    assert system.run("cat", f"{handed}/device.toml") == device.settings.read_text()
    assert system.run("cat", f"{handed}/claim-token") == "# none"  # none is on the card: the fall-back


def test_its_reports_arrive_with_what_it_counts_in_its_sandbox(device: Device) -> None:
    device.wait("a report", lambda: device.vitals is not None)
    vitals = device.vitals
    assert vitals is not None
    assert vitals.rss_bytes > 1e7
    assert vitals.memory_available_bytes > 1e7
    assert vitals.disk_free_bytes > 1e6
    assert vitals.uptime_s
    assert vitals.network_sent_bytes is not None
    assert vitals.swap_used_bytes is not None


def test_a_pushed_model_is_tried_and_swapped_in_and_back_from_a_crash(device: Device, bundle: Path) -> None:
    for version in ("1", "2"):
        device.fleet.push(bundle if version == "1" else rewrite(bundle, "2", model="tiny"))
        device.wait(f"version {version}", lambda release=f"tiny/{version}": device.settled_on(release))
    causes = [event.cause for _, event in device.fleet.reader.events(_DEVICE)]
    assert causes.count("trial-passed") == causes.count("healthy") == 2
    assert device.status == "tiny/2 serves"
    device.wait_started_anew(device.signal("KILL"))
    device.wait("the model after the crash", lambda: device.status == "tiny/2 serves")


def test_a_process_that_hangs_is_ended_by_the_watchdog_and_started_anew(device: Device) -> None:
    device.wait_started_anew(device.signal("STOP"))
    assert "Watchdog timeout (limit 8s)" in device.system.journal()


def test_settings_that_cannot_be_used_wait_for_a_person(device: Device) -> None:
    good, system = device.settings.read_text(), device.system
    try:
        device.settings.write_text("[device]\nnam = 1\n")
        device.restart()
        device.wait("the end", lambda: system.show("ActiveState") == "failed")
        assert (system.show("ExecMainStatus"), system.show("NRestarts")) == ("2", "0")
        device.settings.unlink()  # not even a card's file: the unit says so in its fall-back
        device.restart()
        device.wait("the end", lambda: system.show("ActiveState") == "failed")
        assert system.show("ExecMainStatus") == "2"
        assert "device.toml: device.name is missing" in system.journal()
    finally:
        device.settings.write_text(good)
        device.restart()


def test_a_stop_says_goodbye_within_its_time(device: Device) -> None:
    device.wait("the start", lambda: device.system.show("ActiveState") == "active")
    device.wait("the device", lambda: device.fleet.row(_DEVICE, "tiny").presence == "online")
    device.system.run("systemctl", "stop", UNIT)
    shown = [device.system.show(name) for name in ("Result", "ExecMainCode", "ExecMainStatus")]
    assert shown == ["success", "1", "0"]  # CLD_EXITED
    device.wait("the goodbye", lambda: device.fleet.row(_DEVICE, "tiny").presence == "offline")
    assert "has not acknowledged everything" not in device.system.journal()
    device.restart()


def test_of_the_firmwares_devices_it_gets_the_one_for_questions(device: Device) -> None:
    system = device.system
    for name in ("vcio_gencmd", "vcio"):  # zeros: what answers is no firmware
        system.run("mknod", "--mode=660", f"/dev/{name}", "c", "1", "5")
        system.run("chgrp", "video", f"/dev/{name}")
    device.restart()
    inside = ["nsenter", f"--mount=/proc/{device.pid}/ns/mnt"]
    assert {"vcio_gencmd", "vcio"} & {*system.run(*inside, "ls", "/dev").split()} == {"vcio_gencmd"}
    ids = dict(
        re.findall(r"^(Uid|Groups):\s+(.*)$", system.run("cat", f"/proc/{device.pid}/status"), re.MULTILINE)
    )
    uid, groups = ids["Uid"].split()[0], ",".join(ids["Groups"].split())
    as_service = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={groups}"]
    assert system.run(*inside, *as_service, "head", "--bytes=3", "/dev/vcio_gencmd") == "\0\0\0"


def test_a_root_that_should_be_an_overlay_and_is_none_fails_its_check(device: Device) -> None:
    system, check = device.system, "edgeflock-root-check.service"
    assert system.show("Result", check) == "success"
    assert system.show("ActiveState", check) == "active"
    assert system.run("findmnt", "-no", "FSTYPE", "/var/lib/private/edgeflock").strip() == "tmpfs"
    drop_in = "[Service]\nTemporaryFileSystem=/\nBindReadOnlyPaths=/usr /lib /lib64\nMountAPIVFS=yes\n"
    folder = f"/run/systemd/system/{check}.d"
    system.run(
        "sh", "-c", f"mkdir -p {folder} && printf '{drop_in}' > {folder}/no-overlay.conf".replace("\n", "\\n")
    )
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "restart", check)
    assert system.show("Result", check) == "exit-code"
    assert check in system.run("systemctl", "--failed", "--no-legend")


def test_what_the_card_brought_takes_effect_without_a_restart_of_board_or_service(device: Device) -> None:
    system, pid = device.system, device.pid
    epoch, settings = "/usr/lib/clock-epoch", "/boot/firmware/edgeflock/device.toml"
    said = system.run(
        "sh", "-c", "/usr/local/lib/edgeflock/apply-system /boot/firmware/edgeflock; echo ended $?"
    )
    assert "ended 0" in said.splitlines(), said
    assert system.run("stat", "--format=%Y", epoch) == system.run("stat", "--format=%Y", settings)
    assert system.run("systemctl", "show", "--value", "--property=RuntimeWatchdogUSec").strip() == "15s"
    assert "masked" in system.run("systemctl", "is-enabled", "apt-daily.timer", "man-db.timer")
    assert "/run/log/journal/" in system.run("journalctl", "--header")
    assert "/var/log/journal/" not in system.run("journalctl", "--header")
    assert (device.pid, system.show("ActiveState")) == (pid, "active")
