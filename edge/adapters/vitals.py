"""Resource use of the process and the board, by psutil and /sys."""

from __future__ import annotations

from pathlib import Path

import psutil

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


def read_temperature(path: Path = _THERMAL) -> float | None:
    """Return the board's temperature in Celsius, or None where there is no sensor.

    Read directly: psutil's sensor listing costs twenty times as much, and is empty on some Pi kernels.
    """
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None
