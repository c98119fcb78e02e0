"""How many cores this process may really use: its affinity, and the quota of its control group.

`os.cpu_count()` tells how many the board has. A container with half a core of quota and four threads
waits for its own threads most of the time: 340 times the latency was measured with tflite-runtime.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return how many threads can run at once, at least 1: the affinity, or the quota rounded down."""
    quota = cpu_quota()
    cores = allowed_cores()
    return cores if quota is None else max(1, min(cores, math.floor(quota + 0.05)))


def capped(wished: int) -> int:
    """Return how many threads or interpreters to use where `wished` were asked for; 0 asks for all."""
    most = usable_cores()
    return most if wished == 0 else min(wished, most)


def shared_out(threads: int, pool: int) -> tuple[int, int]:
    """Return how many threads, and how many interpreters with so many each, fit the cores together."""
    threads = capped(threads)
    return threads, max(1, min(capped(pool), usable_cores() // threads))


def allowed_cores() -> int:
    """Return how many cores the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> float | None:
    """Return the control group's quota in cores, the least of it and its parents; None without one."""
    shares = [
        share for folder in _folders("cpu", groups, membership) if (share := _quota_of(folder)) is not None
    ]
    return min(shares, default=None)


def memory_limit_bytes(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int | None:
    """Return how much memory the control group allows, the least of it and its parents; None: no limit."""
    limits = []
    for folder in _folders("memory", groups, membership):
        # Above memory.high nothing is killed, but everything is held up: it is where there is no room.
        for name in ("memory.high", "memory.max", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and limit < 2**60:  # the first version says "none" by a huge number
                limits.append(int(limit))
    return min(limits, default=None)


def _folders(controller: str, groups: Path, membership: Path) -> list[Path]:
    """Return the folders of this process's group and of its parents, for both versions of the interface.

    In a container the path may be that of the host and lead nowhere; the root is looked at in any case.
    """
    folders = []
    for line in _text(membership).splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if names and controller not in names.split(","):
            continue
        root = groups / controller if names else groups
        place = root / path.lstrip("/")
        folders += [one for one in (place, *place.parents) if one.is_relative_to(root)]
    return list(dict.fromkeys([*folders, groups, groups / controller]))


def _quota_of(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit() and int(period):
        return int(quota) / int(period)
    slice_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return slice_us / period_us if slice_us and period_us and slice_us > 0 else None


def _number(path: Path) -> float | None:
    try:
        return float(int(_text(path)))
    except ValueError:  # "max", or no such file
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
