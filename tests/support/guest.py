"""A board in QEMU: starts from an image, tells what its console says, and loses its power when told to.

Its network ends at this machine's loopback: it sees a broker at 10.0.2.100, nothing else, and answers SSH
at a local port.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.broker import free_port
from wire.deadline import Deadline, wait_until

#: Where the guest finds this machine's broker.
BROKER_HOST: Final = "10.0.2.100"

#: Begin of the boot partition in an image of scripts/build-stock-image.
_BOOT_OFFSET: Final = 4 * 1024 * 1024
_BRIDGE: Final = Path(__file__).with_name("stdio_tcp.py")


@dataclass(frozen=True)
class Board:
    """What a guest starts from, and where it may connect to."""

    image: Path
    kernel: Path
    initrd: Path
    #: Port at BROKER_HOST, as the guest sees it -> port of this machine.
    ports: Mapping[int, int]
    #: Private half of the key that may log in.
    ssh_key: Path
    user: str = "fleet"


class Guest:
    """One run of a board, from power on to power off."""

    def __init__(self, board: Board, *, more: tuple[str, ...] = (), words: str = "") -> None:
        self.board = board
        self.began_s = time.monotonic()
        self.lines: list[str] = []
        self.log = board.image.with_suffix(f".{int(time.time())}.console")
        self._ssh_port = free_port()
        self._process = subprocess.Popen(
            [*self._command(words), *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def console(self) -> str:
        return "\n".join(self.lines)

    def pull_the_plug(self) -> None:
        """End it as a power cut does: what the guest has not flushed to its disk is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.console))

    def wait(self, pattern: str, seconds: float, times: int = 1) -> None:
        """Return when the console has said `pattern` so many times."""
        found = wait_until(lambda: self.count(pattern) >= times or not self.alive, Deadline.after(seconds))
        assert found, f"no {pattern!r} on the console:\n{self.console[-4000:]}"
        assert self.alive, f"it ended before {pattern!r}:\n{self.console[-4000:]}"

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, command: str, *, check: bool = True) -> str:
        """Run a command as root over SSH, and return what it printed."""
        board = self.board
        done = subprocess.run(
            ["ssh", "-p", str(self._ssh_port), "-i", str(board.ssh_key), "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
             "-o", "BatchMode=yes", f"{board.user}@127.0.0.1", f"sudo sh -c {shlex.quote(command)}"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def wait_for_login(self, seconds: float) -> None:
        assert wait_until(lambda: self._answers() or not self.alive, Deadline.after(seconds), every_s=2)
        assert self.alive, self.console[-4000:]

    @property
    def is_serving(self) -> bool:
        """Whether the board itself, if it may be asked already, says that its service is ready."""
        return self._ask("systemctl is-active edgeflock") == "active"

    def _answers(self) -> bool:
        return self._ask("echo here") == "here"

    def _ask(self, command: str) -> str:
        try:
            return self.run(command, check=False).strip()
        except subprocess.TimeoutExpired:
            return ""

    def _command(self, words: str) -> list[str]:
        board, log = self.board, f"console=ttyAMA0 net.ifnames=0 {words}"
        line = read_boot_file(board.image, "cmdline.txt").decode().strip()
        forwards = "".join(
            f",guestfwd=tcp:{BROKER_HOST}:{there}-cmd:{sys.executable} {_BRIDGE} 127.0.0.1 {here}"
            for there, here in board.ports.items()
        )
        network = f"user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{self._ssh_port}-:22{forwards}"
        return [
            "qemu-system-aarch64", "-M", "virt,gic-version=3", "-accel", "tcg,thread=multi",
            "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-nographic",
            "-kernel", str(board.kernel), "-initrd", str(board.initrd), "-append", f"{line} {log}",
            "-drive", f"if=none,id=d0,format=raw,file={board.image}", "-device", "virtio-blk-pci,drive=d0",
            "-netdev", network, "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
        ]  # fmt: skip

    def _read(self) -> None:
        """Keep what the console says, and write it to a file, where a person can follow it."""
        assert self._process.stdout is not None
        with self.log.open("w", encoding="utf-8") as log:
            for line in self._process.stdout:
                self.lines.append(f"{self.age_s:7.1f} {line.decode(errors='replace').rstrip()}")
                print(self.lines[-1], file=log, flush=True)


def read_boot_file(image: Path, name: str) -> bytes:
    """Return a file of the image's boot partition, or nothing where there is none."""
    done = subprocess.run(
        ["mtype", "-i", f"{image}@@{_BOOT_OFFSET}", f"::{name}"], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else b""


def missing_tools() -> list[str]:
    """Return what of the tools that a guest needs is not installed."""
    return [name for name in ("qemu-system-aarch64", "mtype", "ssh") if shutil.which(name) is None]
