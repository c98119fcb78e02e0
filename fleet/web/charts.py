"""Curves over time: the same numbers for a chart and for the table under it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.web import wording

#: Points of one chart: more than a screen has columns for a small figure.
MOST_POINTS: Final = 400

#: Rows of the table under a chart, the newest.
_TABLE_ROWS: Final = 30


@dataclass(frozen=True)
class Curve:
    """One line of a chart; `low` and `high` name the two lines that bound a band around others."""

    name: str
    values: Sequence[float | None]
    colour: int = 1
    band: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over the same times. `unit` stands at the axis and behind each number of the table."""

    id: str
    title: str
    unit: str
    times_s: Sequence[float]
    curves: Sequence[Curve]
    digits: int = 1

    @property
    def data(self) -> str:
        """The chart as JSON for charts.js: columns, rounded to what can be seen."""
        columns: list[list[float | None]] = [[round(t) for t in self.times_s]]
        columns += [
            [None if v is None else round(v, self.digits + 1) for v in curve.values] for curve in self.curves
        ]
        lines = [{"name": c.name, "colour": c.colour, "band": c.band} for c in self.curves]
        return json.dumps({"unit": self.unit, "lines": lines, "columns": columns}, separators=(",", ":"))

    @property
    def header(self) -> list[str]:
        return [f"{curve.name}, {self.unit}" for curve in self.curves]

    @property
    def rows(self) -> list[tuple[float, list[str]]]:
        """The newest points as text: (Unix time, a number for each curve), newest first."""
        newest = range(len(self.times_s) - 1, max(-1, len(self.times_s) - 1 - _TABLE_ROWS), -1)
        return [
            (self.times_s[i], [wording.number(curve.values[i], self.digits) for curve in self.curves])
            for i in newest
        ]


def thinned(count: int) -> list[int]:
    """Return which of `count` points to draw: all, or every n-th and the last."""
    step = max(1, -(-count // MOST_POINTS))
    kept = list(range(0, count, step))
    if count and kept[-1] != count - 1:
        kept.append(count - 1)
    return kept
