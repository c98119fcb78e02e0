"""How a device is, in one word and with the reason: what a view shows of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fleet.web.reading import DeviceNow

Word = Literal["healthy", "degraded", "silent", "frozen", "offline"]

#: The worst first: what a person must look at.
WORDS: Final[tuple[Word, ...]] = ("frozen", "silent", "offline", "degraded", "healthy")

#: A sign for each, so that colour is never the only one.
GLYPHS: Final[dict[Word, str]] = {
    "healthy": "●", "degraded": "▲", "silent": "◌", "frozen": "❄", "offline": "○",
}  # fmt: skip

_HOT_C: Final = 80.0
_THROTTLED_NOW: Final = 0b1111


@dataclass(frozen=True)
class Condition:
    """What a device is, and why it is not healthy."""

    word: Word
    reasons: tuple[str, ...] = ()

    @property
    def glyph(self) -> str:
        return GLYPHS[self.word]

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)


def condition(device: DeviceNow) -> Condition:
    """Return how a device is."""
    row = device.row
    if row.presence == "offline":
        return Condition("offline", ("not connected",))
    if row.presence == "silent":
        return Condition("silent", ("connected, but says nothing",))
    if row.stale_metadata:
        return Condition("frozen", ("follows old metadata",))
    reasons = _reasons(device)
    return Condition("degraded", tuple(reasons)) if reasons else Condition("healthy")


def _reasons(device: DeviceNow) -> list[str]:
    vitals, reasons = device.vitals, []
    for row in device.rows:
        if row.state == "blocked":
            reasons.append(f"refused {row.target}: {row.error or 'no reason given'}")
        elif row.error:
            reasons.append(row.error)
    if device.row.dropped:
        reasons.append(f"{device.row.dropped} results or reports dropped")
    if vitals is not None:
        if vitals.temperature_c is not None and vitals.temperature_c >= _HOT_C:
            reasons.append(f"{vitals.temperature_c:.0f} °C")
        if vitals.throttled is not None and vitals.throttled & _THROTTLED_NOW:
            reasons.append("throttled or under-voltage now")
    return reasons
