"""Resource use of the process and the board, by psutil and /sys."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import psutil

from edge.adapters.cores import memory_limit_bytes
from wire.messages import Vitals

_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


class VitalsReader:
    """Reads resource use. Percentages are since the last reading; costly listings stay out (13 ms each)."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()

    def read(self) -> Vitals:
        return Vitals(
            cpu_percent=psutil.cpu_percent(),
            process_cpu_percent=self._process.cpu_percent(),
            rss_bytes=self._process.memory_info().rss,
            memory_available_bytes=psutil.virtual_memory().available,
            disk_free_bytes=psutil.disk_usage(str(self._state)).free,
            temperature_c=read_temperature(),
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


def read_temperature(path: Path = _THERMAL) -> float | None:
    """Return the board's temperature in Celsius, or None where there is no sensor.

    Read directly: psutil's sensor listing costs twenty times as much, and is empty on some Pi kernels.
    """
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None
