"""What time it is, on a board without a clock that runs while it is off.

Time is the latest of what is known to have passed: the system's clock, the day on which this code was
released, the signing time of the newest verified timestamp, and what was saved before. Too early a time
can only hide that metadata has expired, which the server sees by the versions that a device reports; it
breaks nothing.

The saved time never runs ahead of what signatures vouch for: a clock that once stood in 2099 must not
leave a device for which all metadata has expired for ever. So it follows the system's clock only up to
the expiry of the newest verified timestamp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Unix time of the last release of this code; raised with each (2026-11-24).
BUILT_S: Final = 1_795_478_400.0

#: The saved time moves in such steps: a card does not wear out, and a jump is saved at once.
SAVE_EVERY_S: Final = 3600.0


@dataclass(frozen=True)
class Moment:
    """A time in Unix seconds, and where it comes from: `system`, `signed`, `saved` or `built`."""

    time_s: float
    source: str


def moment(*, system_s: float, signed_s: float, saved_s: float, built_s: float = BUILT_S) -> Moment:
    """Return the latest of the known times; the system's clock wins a tie."""
    known = [("system", system_s), ("signed", signed_s), ("saved", saved_s), ("built", built_s)]
    source, time_s = max(known, key=lambda pair: pair[1])
    return Moment(time_s, source)


def to_save(now: Moment, *, signed_s: float, vouched_until_s: float, saved_s: float) -> float:
    """Return the time to save: `saved_s` until another one is a step ahead of it.

    `vouched_until_s` is the expiry of the newest verified timestamp, 0 where there is none.
    """
    safe_s = max(saved_s, signed_s, min(now.time_s, vouched_until_s))
    return safe_s if safe_s - saved_s >= SAVE_EVERY_S else saved_s
