"""Which moment a message belongs to: a rule about clocks, without one.

A device stamps what it says; a board without a clock may be in 1970, a broken one in 2099. The device's word
counts where it can be right: from `KNOWN_PAST_S` on, and at most `AHEAD_S` before the server. Otherwise
the moment is that of arrival, and the message is flagged, for a person to look at the device's clock.
However late, a credible one lands in its own hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

#: 2025-01-01: before any software that reports here was made.
KNOWN_PAST_S: Final = 1_735_689_600.0

#: Clocks without a common source drift apart; a report is stamped before it waits for a connection.
AHEAD_S: Final = 300.0

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400

ClockWord = Literal["right", "behind", "ahead"]


@dataclass(frozen=True)
class Moment:
    """Unix time in seconds, and what is to be said of the device's clock."""

    time_s: float
    clock: ClockWord = "right"


def moment(said_s: float, received_s: float) -> Moment:
    """Return the moment of a message that says `said_s` and came at `received_s`, both Unix time."""
    if not math.isfinite(said_s) or said_s > received_s + AHEAD_S:
        return Moment(received_s, "ahead")
    if said_s < KNOWN_PAST_S and said_s < received_s - AHEAD_S:
        return Moment(received_s, "behind")
    return Moment(said_s)


def slot(time_s: float, resolution_s: int) -> int:
    """Return the start of the slot that a moment lies in; slots begin at whole multiples, in UTC."""
    return int(time_s // resolution_s) * resolution_s
