"""What a flashed device's system is given: the archive, its units, a hub's broker, by their real readers."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from fleet.adapters.broker import find_mosquitto, free_port, start_configured, user_line
from fleet.adapters.broker_files import BrokerFiles
from fleet.broker_setup import BrokerPlan, render_config
from fleet.provision import templates
from fleet.provision.system_files import ARCHIVE, pack, read_links, system_files
from tests.support.locked_broker import needs_mosquitto, now
from wire.adapters.paho_link import BrokerAddress
from wire.errors import SettingsError

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)

_GENERATOR = "etc/systemd/system-generators/edgeflock-data"
_TARGETS = ("basic", "local-fs", "multi-user", "network", "shutdown", "swap", "sysinit", "time-set", "umount")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What the archive and the unit make of an empty system, with the targets that every system has."""
    with tarfile.open(fileobj=io.BytesIO(system_files()[ARCHIVE])) as archive:
        archive.extractall(tmp_path, filter="fully_trusted")
    shutil.copy(templates.locate() / "systemd" / "edgeflock.service", tmp_path / "etc/systemd/system")
    for program in ("opt/edgeflock/venv/bin/edgeflock", "usr/bin/findmnt", "bin/sh"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    stock = tmp_path / "usr/lib/systemd/system"
    stock.mkdir(parents=True)
    for name in _TARGETS:
        (stock / f"{name}.target").write_text("[Unit]\n")
    return tmp_path


def analyze(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", f"--root={root}", "--no-pager", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr or "not supported for" in done.stderr:
        pytest.skip("this systemd-analyze cannot look into another root")
    return done


def settings(text: str) -> list[str]:
    """Return the lines that say something."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


# --- the archive ----------------------------------------------------------------------------------


def test_the_archive_is_the_same_each_time_and_belongs_to_root() -> None:
    packed = system_files()[ARCHIVE]
    assert packed == system_files()[ARCHIVE]
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        entries = archive.getmembers()
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(0, 0, 0)}
    programs = {entry.name for entry in entries if entry.isfile() and entry.mode & 0o111}
    assert programs == {
        "usr/local/lib/edgeflock/apply-system",
        "usr/local/lib/edgeflock/zram",
        _GENERATOR,
    }


@pytest.mark.parametrize(
    ("kernel", "first_process", "mounts"),
    [("quiet", "/sbin/init", 0), ("quiet overlayroot=tmpfs:recurse=0", "/sbin/init", 3),
     ("quiet", "/sbin/init\0overlayroot=tmpfs\0", 3), ("no_overlayroot=1", "/sbin/init", 0)],
    ids=["a writable root", "one that is only read", "in a container", "another word"],
)  # fmt: skip
def test_the_data_partition_is_waited_for_where_it_is_asked_for_alone(
    root: Path, kernel: str, first_process: str, mounts: int
) -> None:
    (root / "proc/1").mkdir(parents=True)
    (root / "proc/cmdline").write_text(f"{kernel}\n")
    (root / "proc/1/cmdline").write_text(first_process)
    units = root / "run/systemd/generator"
    units.mkdir(parents=True)
    environment = {"EDGEFLOCK_ROOT": str(root), "PATH": os.environ["PATH"]}
    subprocess.run([root / _GENERATOR, units, units, units], env=environment, check=True)
    made = {path.name: path.readlink() for path in units.glob("*.mount")}
    assert len(made) == mounts
    assert all((root / str(target).lstrip("/")).is_file() for target in made.values())
    assert {path.name for path in units.glob("local-fs.target.wants/*")} == made.keys()
    # A unit that is there is waited for, by whoever has a folder below its mount.
    assert {path.name for path in (root / "etc").rglob("*.mount")} == {"tmp.mount"}


def test_every_link_leads_into_the_archive_or_to_nothing() -> None:
    with tarfile.open(fileobj=io.BytesIO(system_files()[ARCHIVE])) as archive:
        names = {"/" + name for name in archive.getnames()}
        links = {entry.name: entry.linkname for entry in archive.getmembers() if entry.issym()}
    assert set(links.values()) <= {*names, "/dev/null"}


def test_optional_drop_ins_lie_where_they_do_nothing() -> None:
    with tarfile.open(fileobj=io.BytesIO(system_files()[ARCHIVE])) as archive:
        drop_ins = {
            name for name in archive.getnames() if name.startswith("etc/systemd/system/edgeflock.service.d/")
        }
        assert {PurePosixPath(name).name for name in drop_ins} == {"pi-firmware.conf"}
        assert "usr/local/share/edgeflock/camera.conf" in archive.getnames()


def test_a_file_of_ones_own_in_the_tree_travels() -> None:
    mine = {"system/etc/motd": b"hello\n", "boot/user-data.in": b"not this"}
    with tarfile.open(fileobj=io.BytesIO(pack(mine))) as archive:
        assert archive.getnames() == ["etc/motd"]
        file = archive.extractfile("etc/motd")
        assert file is not None
        assert file.read() == b"hello\n"


@pytest.mark.parametrize("line", ["a", "a ->", "-> b", "/a -> b"])
def test_a_line_that_is_no_link_is_refused(line: str) -> None:
    with pytest.raises(SettingsError, match=r"links\.txt line 2"):
        read_links(f"# why\n{line}\n")


def test_every_file_says_why() -> None:
    for path in (templates.locate() / "system").rglob("*"):
        if path.is_file():
            assert re.search(r"^# .{20}", path.read_text(), re.MULTILINE), path


# --- what systemd thinks of it --------------------------------------------------------------------


@needs_systemd
def test_systemd_takes_every_unit_with_its_drop_ins(root: Path) -> None:
    optional = templates.locate() / "systemd" / "optional"
    shutil.copytree(optional, root / "etc/systemd/system/edgeflock.service.d", dirs_exist_ok=True)
    folder = root / "etc/systemd/system"
    shutil.copytree(root / "usr/local/share/edgeflock/data", folder, dirs_exist_ok=True)
    units = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert len(units) >= 7, units
    done = analyze(root, "verify", *units)
    assert (done.returncode, done.stderr) == (0, "")  # a misspelt key is only a warning


@needs_systemd
@pytest.mark.parametrize(
    ("drop_ins", "tenths"),
    [((), 15), (("edgeflock.service.d/pi-firmware.conf",), 17), (("optional/camera.conf",), 17)],
    ids=["bare", "firmware", "camera"],
)
def test_the_services_exposure_is_low_with_each_drop_in(
    root: Path, drop_ins: tuple[str, ...], tenths: int
) -> None:
    folder = root / "etc/systemd/system/edgeflock.service.d"
    shutil.rmtree(folder)
    folder.mkdir()
    for name in drop_ins:
        shutil.copy(templates.locate() / "systemd" / name, folder)
    done = analyze(root, "security", "--offline=true", f"--threshold={tenths}", "edgeflock.service")
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    assert "Overall exposure level" in done.stdout


def test_the_hardware_watchdog_is_within_what_it_counts_to_and_beats_the_systems_own_file(root: Path) -> None:
    (path,) = (root / "etc/systemd/system.conf.d").iterdir()
    assert path.name > "70-rpi-enable-watchdog.conf"
    seconds = int(re.findall(r"^RuntimeWatchdogSec=(\d+)s$", path.read_text(), re.MULTILINE)[0])
    assert seconds <= 15


def test_no_unit_waits_for_the_network_or_the_time(root: Path) -> None:
    for path in (root / "etc/systemd/system").glob("*.service"):
        said = "\n".join(settings(path.read_text()))
        assert "network-online.target" not in said, path
        assert "time-sync.target" not in said, path


def test_the_boards_settings_do_not_overclock() -> None:
    said = settings((templates.locate() / "boot" / "config-additions.txt").read_text())
    assert {"dtparam=watchdog=on", "arm_boost=1", "gpu_mem=32"} <= set(said)
    assert not [
        line for line in said if line.startswith(("arm_freq", "over_voltage", "force_turbo", "gpu_freq"))
    ]
    assert said[-1] == "[all]"  # what a person adds below is for every board


# --- what is done once on the device ----------------------------------------------------------------


@pytest.mark.parametrize(("age_s", "floor"), [(-3600, True), (3600, False)], ids=["newer", "older"])
def test_the_clock_begins_no_earlier_than_the_card_or_systemd_whichever_is_later(
    root: Path, tmp_path_factory: pytest.TempPathFactory, age_s: int, floor: bool
) -> None:
    card, systemd = tmp_path_factory.mktemp("card"), root / "usr/lib/systemd/systemd"
    for path in (card / "device.toml", systemd):
        path.touch()
    written_s = int(systemd.stat().st_mtime) - age_s
    os.utime(card / "device.toml", (written_s, written_s))
    script = root / "usr/local/lib/edgeflock/apply-system"
    for _ in range(2):  # twice is as once
        subprocess.run([script, card], env=os.environ | {"EDGEFLOCK_ROOT": str(root)}, check=True)
        epoch = root / "usr/lib/clock-epoch"
        assert (epoch.stat().st_mtime if epoch.exists() else None) == (written_s if floor else None)


# --- swap in compressed memory ----------------------------------------------------------------------


def zram(tmp_path: Path, swaps: str, zramctl: str = "echo /dev/zram7") -> tuple[str, list[str]]:
    """Run the script with stand-ins for what would change this machine; return what it said and called."""
    calls, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    for name, body in {"modprobe": ":", "zramctl": zramctl, "mkswap": ":", "swapon": ":"}.items():
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n{body}\n')
        (programs / name).chmod(0o755)
    (tmp_path / "meminfo").write_text("MemTotal:        905000 kB\nMemFree: 1 kB\n")
    (tmp_path / "swaps").write_text(f"Filename Type Size Used Priority\n{swaps}")
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "EDGEFLOCK_MEMINFO": str(tmp_path / "meminfo"),
        "EDGEFLOCK_SWAPS": str(tmp_path / "swaps"),
    }
    script = templates.locate() / "system/usr/local/lib/edgeflock/zram"
    done = subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout, calls.read_text().splitlines() if calls.exists() else []


def test_half_of_the_memory_becomes_swap(tmp_path: Path) -> None:
    _, calls = zram(tmp_path, "")
    assert calls == [
        "modprobe zram",
        "zramctl --find --size 452500KiB --algorithm lz4",
        "mkswap /dev/zram7",
        "swapon --priority 100 /dev/zram7",
    ]


def test_swap_that_the_system_made_is_left_alone(tmp_path: Path) -> None:
    said, calls = zram(tmp_path, "/dev/zram0 partition 452496 0 100\n")
    assert (said, calls) == ("there is swap in compressed memory already\n", [])


# --- a hub ------------------------------------------------------------------------------------------


def test_the_hubs_broker_is_set_as_fleet_init_sets_it() -> None:
    folder = PurePosixPath("/etc/mosquitto/edgeflock")
    made = render_config(BrokerPlan(("hub.local",)), folder)
    wanted = made.replace(f"persistence_location {folder}/", "persistence_location /var/lib/mosquitto/")
    assert settings((templates.locate() / "hub" / "mosquitto.conf").read_text()) == settings(wanted)


@needs_mosquitto
def test_mosquitto_starts_with_the_hubs_file(tmp_path: Path) -> None:
    port = free_port()
    files = BrokerFiles(tmp_path)
    files.make(BrokerPlan(("127.0.0.1",), port=port, claim_port=free_port(), bind="127.0.0.1"), now())
    text = (templates.locate() / "hub" / "mosquitto.conf").read_text()
    text = text.replace("/etc/mosquitto/edgeflock", str(files.folder)).replace(
        "/var/lib/mosquitto", str(files.folder)
    )
    config = files.folder / "hub.conf"
    config.write_text(user_line() + text.replace("listener 8883", f"listener {port} 127.0.0.1"))
    broker = start_configured(config, BrokerAddress("127.0.0.1", port))
    try:
        assert broker.alive
    finally:
        broker.stop()


@needs_systemd
def test_systemd_takes_the_hubs_drop_in(root: Path) -> None:
    stock = Path("/lib/systemd/system/mosquitto.service")
    if find_mosquitto() is None or not stock.exists():
        pytest.skip("Debian's mosquitto.service is not here")
    shutil.copy(stock, root / "etc/systemd/system")
    shutil.copytree(
        templates.locate() / "hub" / "mosquitto.service.d", root / "etc/systemd/system/mosquitto.service.d"
    )
    for program in ("usr/sbin/mosquitto", "bin/mkdir", "bin/chown", "bin/kill"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).write_text("#!/bin/sh\n")
        (root / program).chmod(0o755)
    done = analyze(root, "verify", "mosquitto.service")
    assert (done.returncode, done.stderr) == (0, "")
