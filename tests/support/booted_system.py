"""A Debian system that runs in a container, with systemd as its first process and our service in it.

The host need not run systemd. The system is that of debian_root.py below an overlay in memory, so a test may
change it; it shares the host's network, so a broker on 127.0.0.1 is the device's broker too.
"""

from __future__ import annotations

import io
import os
import signal
import site
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import psutil

from fleet.provision.system_files import ARCHIVE, system_files
from fleet.provision.templates import locate
from tests.support.debian_root import debian_root
from wire.deadline import Deadline, wait_until

UNIT: Final = "edgeflock.service"
_START_S: Final = 60.0
_HERE: Final = "/opt/edgeflock"
_SOURCE: Final = Path(__file__).parents[2]


class BootedSystem:
    """One start of the system; `stop` ends it. `card` is the boot partition's folder `edgeflock`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.card = folder / "card" / "edgeflock"
        self.over = folder / "over"
        self._memory = folder / "memory"
        self._mounted: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def lay(self) -> None:
        """Write what a flashed device has: the runtime, the unit, the system's files."""
        self.card.mkdir(parents=True)
        _lay_runtime(self.over / _HERE.lstrip("/"))
        wanted = self.over / "etc/systemd/system/multi-user.target.wants"
        wanted.mkdir(parents=True)
        (wanted.parent / UNIT).write_bytes((locate() / "systemd" / UNIT).read_bytes())
        (wanted / UNIT).symlink_to(f"/etc/systemd/system/{UNIT}")
        with tarfile.open(fileobj=io.BytesIO(system_files()[ARCHIVE])) as archive:
            archive.extractall(self.over, filter="fully_trusted")

    def boot(self, *kernel_words: str) -> None:
        """Start it; return when it has started all that it starts."""
        root = self._mount_root()
        command = [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--boot"),
            f"--directory={root}",
            f"--bind-ro={_SOURCE}:{_HERE}/source",
            f"--bind-ro={site.getsitepackages()[0]}:{_HERE}/packages",
            f"--bind-ro={self.card.parent}:/boot/firmware",
            *kernel_words,
        ]
        with (self._folder / "console.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not wait_until(self._is_up, Deadline.after(_START_S), every_s=0.1):
            raise AssertionError(f"no start: {(self._folder / 'console.log').read_text(errors='replace')}")

    def run(self, *command: str) -> str:
        """Run a command in the system, as root; return its output, whatever its exit code."""
        inside = ["nsenter", "--target", str(self._leader), "--all", "--", *command]
        # In a session of its own: whatever it signals, it does not reach the tests.
        done = subprocess.run(
            inside, capture_output=True, text=True, timeout=60, check=False, start_new_session=True
        )
        return done.stdout + done.stderr

    def show(self, name: str, unit: str = UNIT) -> str:
        """Return a property of a unit, such as ActiveState."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str = UNIT) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def stop(self) -> None:
        if self._leader:
            os.kill(self._leader, signal.SIGKILL)  # the first process: all others end with it
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for place in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", place], check=True)

    def _mount_root(self) -> Path:
        """Mount the cached system below what was laid, and both below memory that takes what is written."""
        self._mount(self._memory, "tmpfs")
        for name in ("upper", "work"):
            (self._memory / name).mkdir()
        lower = f"lowerdir={self.over}:{debian_root()}"
        options = f"{lower},upperdir={self._memory}/upper,workdir={self._memory}/work"
        root = self._folder / "root"
        self._mount(root, "overlay", "-o", options)
        return root

    def _mount(self, place: Path, kind: str, *options: str) -> None:
        place.mkdir()
        subprocess.run(["mount", "-t", kind, *options, kind, place], check=True)
        self._mounted.append(place)

    def _is_up(self) -> bool:
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        if not children:
            return False
        self._leader = children[-1].pid
        return self.run("systemctl", "is-system-running").strip() in ("running", "degraded")


def _lay_runtime(place: Path) -> None:
    """Write the venv of a device, with our source and this environment's packages in it."""
    packages = place / f"venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (packages / "runtime.pth").write_text(f"{_HERE}/source\n{_HERE}/packages\n")
    (place / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (place / "venv/bin").mkdir()
    (place / "venv/bin/python3").symlink_to("/usr/bin/python3")
    program = place / "venv/bin/edgeflock"
    program.write_text(
        f"#!{_HERE}/venv/bin/python3\nimport sys\nfrom edgeflock import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    for name in ("source", "packages"):
        (place / name).mkdir()
    (place / "installed").touch()
