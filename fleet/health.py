"""Whether a device is there, as a pure rule on what it last said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Without a word for so many report intervals a device counts as silent, whatever the broker says of it.
SILENT_AFTER_INTERVALS: Final = 3.0

#: What is expected of a device that has not reported yet.
DEFAULT_INTERVAL_S: Final = 60.0


def presence(*, online: bool, silent_for_s: float, interval_s: float) -> str:
    """Return `online`, `silent` (connected, but says nothing) or `offline`."""
    if not online:
        return "offline"
    if silent_for_s > SILENT_AFTER_INTERVALS * max(interval_s, 1.0):
        return "silent"
    return "online"


#: So long a device may take to follow a newer timestamp before it counts as frozen.
METADATA_GRACE_S: Final = 3600.0


def metadata_is_stale(reported: int | None, issued_s: Mapping[int, float], now_s: float) -> bool:
    """Return whether a device follows an older timestamp although a newer one has long been out.

    `issued_s` is the signing time of each timestamp that is remembered, by version. A device whose clock
    lags cannot see that it is being frozen; the versions that it reports show it. One that has reported no
    version says nothing.
    """
    if reported is None or not issued_s or reported >= max(issued_s):
        return False
    newer_s = min(time_s for version, time_s in issued_s.items() if version > reported)
    return now_s - newer_s > METADATA_GRACE_S
