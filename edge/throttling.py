"""How long the processor was slower than asked for, from two looks at the kernel's clocks. Pure.

A point sample of the clock misses what happened between two reports, and a low clock alone is no
throttling: a governor lowers it while nothing is to be done. So the time below the highest clock is
set against the time that the busiest core worked: what of the two cannot lie beside each other in the
interval must lie on each other. That is a lower bound: true throttling lasted at least so long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: The kernel counts both in ticks of 10 ms for programs (USER_HZ).
TICK_S: Final = 0.01

_CORE: Final = re.compile(r"^cpu\d+ (.+)$", re.MULTILINE)
_IDLE: Final = (3, 4)  # idle, iowait: Documentation/filesystems/proc.rst


@dataclass(frozen=True)
class Clocks:
    """One look: ticks at each clock (kHz) since the start, and ticks that each core was busy and idle."""

    in_state: dict[int, int]
    busy: tuple[int, ...]
    idle: tuple[int, ...]


def parse_clocks(time_in_state: str, stat: str) -> Clocks | None:
    """Read `cpufreq/stats/time_in_state` and `/proc/stat`; None where either says nothing sensible."""
    try:
        in_state = {
            int(clock): int(ticks) for clock, ticks in (line.split() for line in time_in_state.splitlines())
        }
        cores = [[int(number) for number in found.split()[:8]] for found in _CORE.findall(stat)]
    except ValueError:
        return None
    if not in_state or not cores or any(len(core) <= max(_IDLE) for core in cores):
        return None
    idle = [sum(core[i] for i in _IDLE) for core in cores]
    busy = [sum(core) - rest for core, rest in zip(cores, idle, strict=True)]
    return Clocks(in_state, tuple(busy), tuple(idle))


def throttled_s(before: Clocks, now: Clocks) -> float | None:
    """Return how long, at least, the clock was below its highest while a core had work; seconds.

    None where the two looks are not of one machine: a core went, or a counter ran backwards.
    """
    if len(before.busy) != len(now.busy) or before.in_state.keys() != now.in_state.keys():
        return None
    spent = {clock: now.in_state[clock] - ticks for clock, ticks in before.in_state.items()}
    below = sum(ticks for clock, ticks in spent.items() if clock != max(spent))
    busiest = max(new - old for new, old in zip(now.busy, before.busy, strict=True))
    interval = sum(spent.values())
    if min(spent.values()) < 0 or busiest < 0:
        return None
    return round(max(0, below + min(busiest, interval) - interval) * TICK_S, 2)
