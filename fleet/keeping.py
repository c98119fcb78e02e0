"""How long what devices said is kept.

Rules:
- reports are rolled up when they come, so their raw form is kept only to look closely at the last days: a
  thousand devices with one a minute write 3 GB of it a day;
- events are the audit log: kept for months, and the last ones of each device for ever;
- sums become coarser with age and are never lost: what leaves the minutes and hours is in the days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.timing import DAY_S, HOUR_S, MINUTE_S

#: How long the finest sums of a scope are kept, by their resolution: minutes of the fleet, hours of a device.
KEEP_S: Final = {MINUTE_S: 14 * DAY_S, HOUR_S: 30 * DAY_S}


@dataclass(frozen=True)
class Keep:
    """What is removed when; the defaults are those of `edgeflock fleet serve`."""

    raw_s: float = 72.0 * HOUR_S
    events_s: float = 90.0 * DAY_S
    #: Of each device so many of the last events are kept, however old.
    events_of_device: int = 100
    samples_s: float = 30.0 * DAY_S
    fleet_hours_s: float = 730.0 * DAY_S
    vitals_s: float = 400.0 * DAY_S
