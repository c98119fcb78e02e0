"""How far back a page looks: a few spans, each with slots that make a readable curve. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.web.reading import Window


@dataclass(frozen=True)
class Span:
    """One span of time that a person can choose."""

    key: str
    words: str
    seconds: float
    resolution_s: float

    def window(self, now_s: float) -> Window:
        """Return the window that ends with the slot of `now_s`; its borders do not move between two slots."""
        until_s = (now_s // self.resolution_s + 1) * self.resolution_s
        return Window(until_s - self.seconds, until_s, self.resolution_s)


SPANS: Final = (
    Span("1h", "an hour", 3600.0, 60.0),
    Span("6h", "6 hours", 6 * 3600.0, 300.0),
    Span("1d", "a day", 86_400.0, 900.0),
    Span("7d", "a week", 7 * 86_400.0, 3600.0),
    Span("30d", "30 days", 30 * 86_400.0, 6 * 3600.0),
)

_DEFAULT: Final = SPANS[1]


def span(key: str | None) -> Span:
    """Return the span with this key, or the usual one."""
    return next((s for s in SPANS if s.key == key), _DEFAULT)
