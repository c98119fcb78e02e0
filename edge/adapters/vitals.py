"""Resource use of the process and the board: by psutil, and by what the kernel and the firmware tell.

One reading takes 0.25 ms on a workstation (benchmarks/vitals.py); listings of processes and connections, at
13 ms and more, stay out.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Final

import psutil

from edge.adapters.cores import memory_limit_bytes
from edge.adapters.firmware import read_throttled
from edge.adapters.kernel_files import KernelFiles
from wire.messages import Vitals

_THERMAL: Final = "sys/class/thermal/thermal_zone0/temp"


class VitalsReader:
    """Reads resource use. Percentages are since the last reading; the files are below `root`."""

    def __init__(self, state: Path, root: Path = Path("/")) -> None:
        self._state = state
        self._root = root
        self._kernel = KernelFiles(state, root)
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()

    def watch(self) -> None:
        """Look at what passes between two readings; to be called every second or so. Takes some 10 us."""
        self._kernel.watch()

    def read(self) -> Vitals:
        self._kernel.watch()
        sent, received = self._kernel.network_bytes() or (None, None)
        return Vitals(
            cpu_percent=psutil.cpu_percent(),
            process_cpu_percent=self._process.cpu_percent(),
            rss_bytes=self._process.memory_info().rss,
            memory_available_bytes=psutil.virtual_memory().available,
            disk_free_bytes=psutil.disk_usage(str(self._state)).free,
            temperature_c=read_temperature(self._root / _THERMAL),
            swap_used_bytes=self._kernel.swap_used_bytes(),
            network_sent_bytes=sent,
            network_received_bytes=received,
            disk_written_bytes=self._kernel.disk_written_bytes(),
            filesystem_errors=self._kernel.file_system_errors(),
            throttled=read_throttled(self._root),
            undervoltages=self._kernel.undervoltages,
            throttled_s=self._kernel.throttled_s(),
            clock_mhz=self._kernel.clock_mhz(),
            uptime_s=self._kernel.uptime_s(),
        )


def available_bytes() -> int:
    """Return how much memory can be had: of the board's, and within the control group's limit."""
    available: int = psutil.virtual_memory().available
    limit = memory_limit_bytes()
    if limit is None:
        return available
    rss: int = psutil.Process().memory_info().rss
    return max(0, min(available, limit - rss))


def total_bytes() -> int:
    """Return how much memory there is at all: the board's, or the control group's limit."""
    total: int = psutil.virtual_memory().total
    return min(total, memory_limit_bytes() or total)


def userland() -> str:
    """Return the machine that programs see: a 32-bit system on a 64-bit kernel is a 32-bit one."""
    machine = platform.machine()
    if sys.maxsize > 2**32:
        return machine
    return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)


def read_temperature(path: Path) -> float | None:
    """Return the board's temperature in Celsius, or None where there is no sensor.

    Read directly: psutil's sensor listing costs twenty times as much, and is empty on some Pi kernels.
    """
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None
