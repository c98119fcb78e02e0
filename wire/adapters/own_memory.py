"""How much memory this process has, and has had at most: what the kernel tells of it.

Not every kernel tells the peak in its status file (those of some containers, and macOS, do not). `getrusage`
does everywhere, on Linux with what the process was before it became this program: too much there perhaps,
never too little.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/status")
_KILOBYTE: Final = 1024


def resident_bytes(status: Path = STATUS) -> int:
    """Return what is resident now; the peak where the kernel does not tell."""
    return _told("VmRSS", status) or _most_bytes()


def peak_bytes(status: Path = STATUS) -> int:
    """Return the most that was ever resident."""
    return _told("VmHWM", status) or max(_most_bytes(), _told("VmRSS", status))


def data_bytes(status: Path = STATUS) -> int:
    """Return what counts for RLIMIT_DATA; 0 where the kernel does not tell."""
    return _told("VmData", status)


def _most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KILOBYTE)


def _told(name: str, status: Path) -> int:
    """Return a figure of the status file in bytes; 0 for one that is not there."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * _KILOBYTE for line in lines if line.startswith(f"{name}:")), 0)
