"""Which refusals are news: an attacker who repeats himself fills no journal."""

from __future__ import annotations

from typing import Final

#: How many distinct refusals are told within a day; past them they are only logged by those who count.
MOST: Final = 64
_DAY_S: Final = 86_400.0


class Refusals:
    """Remembers for a day what was told."""

    def __init__(self) -> None:
        self._told_s: dict[str, float] = {}

    def first(self, text: str, now_s: float) -> bool:
        """Return whether `text` is to be told: not within the last day, and not after MOST others."""
        self._told_s = {known: at for known, at in self._told_s.items() if now_s - at < _DAY_S}
        if text in self._told_s or len(self._told_s) >= MOST:
            return False
        self._told_s[text] = now_s
        return True
