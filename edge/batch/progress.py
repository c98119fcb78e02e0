"""How far, how fast, how long still. Pure: time comes as an argument.

The time left is told from bytes: how many rows are in a file that was not read yet, nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BAR: Final = 24
_FIRST_GUESS_S: Final = 2.0


@dataclass(frozen=True)
class Pace:
    """What one run does. `rows` and `read_bytes` are where it began, `start_s` when, on any clock."""

    total_bytes: int
    start_s: float
    rows: int = 0
    read_bytes: int = 0

    def line(self, now_s: float, rows: int, read_bytes: int, bad: int, *, bar: bool) -> str:
        """Return where it stands: `52 %  12,345 rows  1,234 rows/s  3:12 left  2 bad`."""
        share = min(1.0, read_bytes / self.total_bytes) if self.total_bytes else 1.0
        parts = [f"{share:4.0%}", f"{rows:,} rows", f"{_rate(self.rate(now_s, rows))} rows/s"]
        left_s = self.left_s(now_s, read_bytes)
        if left_s is not None:
            parts.append(f"{duration(left_s)} left")
        if bad:
            parts.append(f"{bad:,} bad")
        full = round(share * _BAR)
        return ("[" + "#" * full + "." * (_BAR - full) + "] " if bar else "") + "  ".join(parts)

    def rate(self, now_s: float, rows: int) -> float:
        """Return rows a second of this run."""
        return (rows - self.rows) / max(now_s - self.start_s, 1e-9)

    def left_s(self, now_s: float, read_bytes: int) -> float | None:
        """Return the seconds that are left, None while it is too early to tell."""
        done, took_s = read_bytes - self.read_bytes, now_s - self.start_s
        if done <= 0 or took_s < _FIRST_GUESS_S:
            return None
        return max(0, self.total_bytes - read_bytes) / done * took_s


def duration(seconds: float) -> str:
    """Return a time for people: 0:07, 3:12, 2:05:00."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
