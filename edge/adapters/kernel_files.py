"""What the kernel tells of a board in files, and psutil does not: clocks, voltage, wear, errors.

Rules:
- any of these may be absent or nonsense, and is then None, never 0;
- nothing is listed that grows with the machine (processes, connections: 13 ms and more);
- all paths are below `root`, so that tests can stand another machine there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from edge.throttling import Clocks, parse_clocks, throttled_s

_CLOCK: Final = "sys/devices/system/cpu/cpu0/cpufreq"
_LOOPBACK: Final = "lo"
#: One interface of /proc/net/dev: its name, bytes received, seven other counts, bytes sent.
_INTERFACE: Final = re.compile(r"^\s*(\S+):\s*(\d+)(?:\s+\d+){7}\s+(\d+)\s", re.MULTILINE)
_SWAP: Final = re.compile(r"^Swap(Total|Free):\s+(\d+) kB$", re.MULTILINE)
_UPTIME: Final = re.compile(r"\d{1,12}(\.\d+)?(?= )")
_KILOBYTE: Final = 1024


class KernelFiles:
    """Reads them; what is a difference is one since the last reading."""

    def __init__(self, state: Path, root: Path = Path("/")) -> None:
        self._root = root
        self._file_system = _file_system(root, state)
        self._alarm = _undervoltage_alarm(root)
        self._alarmed = False
        self._undervoltages = 0
        self._clocks = self._read_clocks()

    def watch(self) -> None:
        """Look whether under-voltage began. The kernel asks the board every 2 s: so often at least, look."""
        if self._alarm is None:
            return
        alarmed = _number(self._alarm) == 1
        self._undervoltages += alarmed and not self._alarmed
        self._alarmed = alarmed

    @property
    def undervoltages(self) -> int | None:
        """How often under-voltage began since this was made; None where the board does not tell."""
        return None if self._alarm is None else self._undervoltages

    def throttled_s(self) -> float | None:
        """Return how long the clock was held down since the last call (edge/throttling.py), in seconds."""
        before, self._clocks = self._clocks, self._read_clocks()
        return throttled_s(before, self._clocks) if before and self._clocks else None

    def clock_mhz(self) -> float | None:
        khz = _number(self._root / _CLOCK / "scaling_cur_freq")
        return None if khz is None else khz / 1000

    def uptime_s(self) -> float | None:
        found = _UPTIME.match(_text(self._root / "proc/uptime"))
        return float(found[0]) if found else None

    def swap_used_bytes(self) -> int | None:
        text = _text(self._root / "proc/meminfo")
        sizes = {
            name: int(kb) for name, kb in re.findall(r"^Swap(Total|Free):\s+(\d+) kB$", text, re.MULTILINE)
        }
        return max(0, sizes["Total"] - sizes["Free"]) * _KILOBYTE if len(sizes) == 2 else None

    def network_bytes(self) -> tuple[int, int] | None:
        """Return (sent, received) over all interfaces but the loopback."""
        found = _INTERFACE.findall(_text(self._root / "proc/net/dev"))
        if not found:
            return None
        counted = [(int(sent), int(received)) for name, received, sent in found if name != _LOOPBACK]
        return sum(sent for sent, _ in counted), sum(received for _, received in counted)

    def disk_written_bytes(self) -> int | None:
        """Return what was ever written to the ext4 file system that holds the state folder."""
        kilobytes = _number(self._file_system / "lifetime_write_kbytes") if self._file_system else None
        return None if kilobytes is None else kilobytes * _KILOBYTE

    def file_system_errors(self) -> int | None:
        """Return how many errors ext4 has met on it since it was made, or checked."""
        return _number(self._file_system / "errors_count") if self._file_system else None

    def _read_clocks(self) -> Clocks | None:
        in_state = _text(self._root / _CLOCK / "stats/time_in_state")
        return parse_clocks(in_state, _text(self._root / "proc/stat")) if in_state else None


def _file_system(root: Path, state: Path) -> Path | None:
    """Return ext4's folder for the block device below `state`; None for another file system."""
    try:
        device = os.stat(state).st_dev
        name = (root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve(strict=True).name
    except OSError:
        return None
    folder = root / "sys/fs/ext4" / name
    return folder if folder.is_dir() else None


def _undervoltage_alarm(root: Path) -> Path | None:
    """Return the alarm of the kernel's raspberrypi-hwmon driver: set when the last two seconds had any."""
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(folder / "name").strip() == "rpi_volt":
            return folder / "in0_lcrit_alarm"
    return None


def _number(path: Path) -> int | None:
    try:
        number = int(_text(path))
    except ValueError:
        return None
    return number if 0 <= number < 2**53 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
