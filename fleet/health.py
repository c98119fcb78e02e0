"""Whether a device is there, as a pure rule on what it last said."""

from __future__ import annotations

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
