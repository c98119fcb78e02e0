"""A figure with its name and what stands under it: the boxes on top of a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """One figure, ready to be read; `tone` is good, warn or nothing."""

    name: str
    value: str
    note: str = ""
    tone: str = ""
