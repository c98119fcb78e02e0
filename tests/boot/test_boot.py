"""A stock image, flashed and booted in QEMU on a virtual arm64 board, from enrolment to a second model.

Run by `make boot-test`, which makes the image and the packages first: minutes under emulation. The tests
are one story on one card, in this order; each begins where the one before has left the board.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.guest import BROKER_HOST, Board, Guest, missing_tools, read_boot_file
from tests.support.locked_fleet import Locked
from tests.support.training import Bundles
from wire.deadline import Deadline, wait_until

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]

_DEVICE_PORT, _CLAIM_PORT = 8883, 8884

#: Longest that a boot may take here: a minute on an idle machine, several beside other work.
_BOOT_S = 900.0


@dataclass
class Bench:
    """The operator's side: images, packages and a fleet; and how long things took, in seconds."""

    folder: Path
    built: Path
    fleet: Locked
    ssh_key: Path
    timings_s: dict[str, float] = field(default_factory=dict)

    def flash(self, name: str) -> Board:
        """Write the card of a device as an operator does."""
        image, token = self.folder / f"{name}.img", self.folder / f"{name}.token"
        self.fleet.command("fleet", "enroll", name, "--state", self.fleet.state, "--out", token)
        began_s = time.monotonic()
        self.fleet.command(
            "flash", "--image", self.built / "stock.img", "--out", image, "--device", name,
            "--broker", BROKER_HOST, "--ca", self.fleet.files.broker_ca, "--claim", token,
            "--root", self.fleet.state / "root.json", "--model", "digits",
            "--ssh-key", self.ssh_key.with_suffix(".pub"),
            "--packages", self.built / "packages" / "bookworm-arm64",
        )  # fmt: skip
        self.timings_s.setdefault("flash", time.monotonic() - began_s)
        return Board(
            image=image,
            kernel=self.built / "vmlinuz",
            initrd=self.built / "initrd.img",
            ports={_DEVICE_PORT: self.fleet.port, _CLAIM_PORT: self.fleet.claim_port},
            ssh_key=self.ssh_key,
        )

    def push(self, bundle: Path) -> None:
        self.fleet.command("fleet", "push", bundle, "--state", self.fleet.state)

    def row(self, name: str) -> dict[str, Any]:
        rows = json.loads(self.fleet.command("fleet", "devices", "--json", "--state", self.fleet.state))
        return next((row for row in rows if row["device"] == name), {})

    def wait_for(self, guest: Guest, name: str, release: str) -> None:
        """Return when the server has heard that the device serves `release`, and the board says that it does.

        Where its power went, what the server last heard is of the time before.
        """

        def serves() -> bool:
            row = self.row(name)
            return (row.get("presence"), row.get("current")) == ("online", release) and guest.is_serving

        reached = wait_until(lambda: serves() or not guest.alive, Deadline.after(_BOOT_S), every_s=3)
        assert guest.alive, guest.console[-4000:]
        assert reached, f"{self.row(name)}\n{guest.console[-4000:]}"


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, bundles: Bundles
) -> Iterator[Bench]:
    built: Path = pytestconfig.getoption("--boot-image")
    assert not missing_tools(), f"not installed: {', '.join(missing_tools())}"
    folder = tmp_path_factory.mktemp("bench")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    fleet = Locked(folder, BROKER_HOST)
    fleet.serve("--no-web")
    bench = Bench(folder, built.resolve(), fleet, key)
    bench.push(bundles.one)
    yield bench
    fleet.stop()
    print("\n".join(f"{what}: {seconds:.1f} s" for what, seconds in bench.timings_s.items()))


@pytest.fixture(scope="module")
def board(bench: Bench) -> Board:
    return bench.flash("pi-1")


@pytest.fixture
def power(board: Board) -> Iterator[list[Guest]]:
    """Where a test puts the guests that it starts; none outlives it."""
    guests: list[Guest] = []
    yield guests
    for guest in guests:
        guest.pull_the_plug()


def test_a_flashed_card_enrols_and_serves_its_first_model(
    bench: Bench, board: Board, power: list[Guest]
) -> None:
    guest = Guest(board)
    power.append(guest)
    guest.wait("Linux version", 60)
    bench.timings_s["first boot: kernel"] = guest.age_s
    bench.wait_for(guest, "pi-1", "digits/1")
    bench.timings_s["first boot: enrolled, its model fetched, proved and served"] = guest.age_s
    guest.wait_for_login(300)
    assert guest.run("hostname").strip() == "pi-1"
    assert "active" in guest.run("systemctl is-active edgeflock")
    assert guest.run("uname -m").strip() == "aarch64"
    guest.run("sync; systemctl poweroff", check=False)
    assert wait_until(lambda: not guest.alive, Deadline.after(180))
    log = read_boot_file(board.image, "edge-firstboot.log").decode()
    for told in ("system files: laid out", "enrolled: yes", "done"):
        assert told in log
    # Enrolment is told of at once; its first model may come a moment later.
    assert "served: a model is in place" in log or "served: not yet; a model comes with the first push" in log
    assert read_boot_file(board.image, "edgeflock/claim-token") == b""


def test_a_second_version_is_swapped_in(
    bench: Bench, board: Board, power: list[Guest], bundles: Bundles
) -> None:
    guest = Guest(board)
    power.append(guest)
    bench.wait_for(guest, "pi-1", "digits/1")
    bench.timings_s["later boot: online and serving"] = guest.age_s
    assert "Timed out waiting" not in guest.console
    began_s = time.monotonic()
    bench.push(bundles.two)
    bench.wait_for(guest, "pi-1", "digits/2")
    bench.timings_s["push of a second version, to its serving"] = time.monotonic() - began_s


def test_a_power_cut_in_an_update_ends_in_the_new_version(
    bench: Bench, board: Board, power: list[Guest], bundles: Bundles
) -> None:
    guest = Guest(board)
    power.append(guest)
    bench.wait_for(guest, "pi-1", "digits/2")
    bench.push(bundles.large)

    def is_under_way() -> bool:
        row = bench.row("pi-1")
        return row["target"] == "digits/3" and 0 < row["fetched_chunks"] < row["total_chunks"]

    assert wait_until(is_under_way, Deadline.after(120), every_s=0.2), bench.row("pi-1")
    guest.pull_the_plug()
    guest = Guest(board)
    power.append(guest)
    bench.wait_for(guest, "pi-1", "digits/3")
    bench.timings_s["after a power cut in an update: the new version serves"] = guest.age_s


def test_a_crashed_kernel_is_reset_by_the_hardware_watchdog(
    bench: Bench, board: Board, power: list[Guest]
) -> None:
    guest = Guest(board)
    power.append(guest)
    guest.wait_for_login(_BOOT_S)
    # Without this the kernel would restart by itself (panic=10): here the watchdog has to.
    guest.run("echo 0 > /proc/sys/kernel/panic; sync")
    crashed_s = time.monotonic()
    guest.run("(sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &", check=False)
    guest.wait("Kernel panic", 60)
    guest.wait("Linux version", 120, times=2)
    bench.timings_s["crashed kernel: reset by the watchdog"] = time.monotonic() - crashed_s
    bench.wait_for(guest, "pi-1", "digits/3")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_power_cut_in_the_first_boot_is_made_good(
    bench: Bench, board: Board, power: list[Guest], share: float
) -> None:
    """At a share of the time that the first boot took before; and the clock stands at 1980."""
    name = f"cut-{share:.1f}".replace(".", "-")
    other = bench.flash(name)
    first_s = bench.timings_s["first boot: enrolled, its model fetched, proved and served"]
    guest = Guest(other, more=("-rtc", "base=1980-01-01"))
    power.append(guest)
    assert wait_until(lambda: guest.age_s > share * first_s, Deadline.after(_BOOT_S))
    guest.pull_the_plug()
    guest = Guest(other, more=("-rtc", "base=1980-01-01"))
    power.append(guest)
    bench.wait_for(guest, name, "digits/3")
    shutil.move(other.image, other.image.with_suffix(".done"))
