"""What kind of board a device says that it is, and how fast each kind answers. Pure.

A device may say anything: what cannot be shown is left out, and what is no kind of many devices is one heap
(`MOST_KINDS`), so that a fleet that invents names gets no table without an end.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleet.class_names import cleaned
from wire.counters import Buckets, ModelCounters
from wire.histogram import count, merge, quantile
from wire.messages import Reported

#: Kinds that are told apart; the others are one.
MOST_KINDS: Final = 12
OTHERS: Final = "others"
UNTOLD: Final = "not told"

#: Boards of one kind differ by it in no way that a model would notice.
_REVISION: Final = re.compile(r"\s+Rev\s+[\d.]+$")


@dataclass(frozen=True)
class BoardLatency:
    """All answers of one kind of board; latencies in microseconds, true over all its devices."""

    board: str
    devices: int
    answers: int
    p50_us: float | None
    p99_us: float | None


def board_kind(said: Reported | None) -> str:
    """Return the kind of a board: its name without its revision, and its userland; "" where it told none."""
    if said is None:
        return ""
    name = _REVISION.sub("", cleaned(said.board or ""))
    return ", ".join(part for part in (name, cleaned(said.machine or "", 16)) if part)


def by_board(by_device: Mapping[str, ModelCounters], boards: Mapping[str, str]) -> list[BoardLatency]:
    """Return what each kind of board did, the slowest first; `boards` is by device."""
    parts: dict[str, list[Buckets]] = defaultdict(list)
    for device, counters in by_device.items():
        parts[boards.get(device) or UNTOLD].append(counters.latency_us)
    ordered = sorted(parts, key=lambda board: (-len(parts[board]), board))
    found = [_line(board, parts[board]) for board in ordered[:MOST_KINDS]]
    if rest := [part for board in ordered[MOST_KINDS:] for part in parts[board]]:
        found.append(_line(OTHERS, rest))
    return sorted(found, key=lambda line: (-(line.p99_us or 0.0), line.board))


def _line(board: str, parts: list[Buckets]) -> BoardLatency:
    whole = merge(parts)
    return BoardLatency(board, len(parts), count(whole), quantile(whole, 0.5), quantile(whole, 0.99))
