"""How a device is, as a view shows it: a word, a sign for it, and the reasons. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.health_rules import STATES, State
from fleet.web.reading import DeviceNow

#: The worst first: what a person must look at.
WORDS: Final = STATES

#: A sign for each, so that colour is never the only one.
GLYPHS: Final[dict[State, str]] = {
    "healthy": "●", "degraded": "▲", "silent": "◌", "frozen": "❄", "offline": "○",
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """What a device is, and why it is not healthy."""

    word: State
    reasons: tuple[str, ...] = ()

    @property
    def glyph(self) -> str:
        return GLYPHS[self.word]

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)


def condition(device: DeviceNow) -> Condition:
    """Return how a device is."""
    verdict = device.verdict
    return Condition(verdict.state, tuple(reason.text for reason in verdict.reasons))
