"""Sums of labelled answers by confidence, over devices of which some tell how sure they were in a bin. Pure.

Where some tell the sums of their confidences and others do not, the middle of a bin stands for each answer of
the latter; where nobody does, nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add
from typing import Any

from wire.counters import MILLI, RELIABILITY_BINS, Reliability


class ReliabilitySums:
    """The sum of any number of `Reliability`; columns are empty as long as nothing was labelled."""

    __slots__ = ("confidence", "correct", "labelled")

    def __init__(self) -> None:
        self.labelled: list[int] = []
        self.correct: list[int] = []
        self.confidence: list[int] = []

    def add(self, labelled: Iterable[int], correct: Iterable[int], confidence: Iterable[int]) -> None:
        """Add the columns of one report, or of a sum."""
        labelled, confidence = list(labelled), list(confidence)
        if not labelled:
            return
        if confidence or self.confidence:
            known = self.confidence or middles(self.labelled)
            self.confidence = _added(known, confidence or middles(labelled))
        self.labelled, self.correct = _added(self.labelled, labelled), _added(self.correct, correct)

    def plain(self) -> dict[str, Any]:
        """Return the sum as the JSON of a `Reliability`."""
        plain = {"labelled": self.labelled, "correct": self.correct}
        return plain | {"confidence": self.confidence} if self.confidence else plain

    def columns(self) -> dict[str, tuple[int, ...]]:
        """Return the fields of a `Reliability`."""
        return {name: tuple(getattr(self, name)) for name in ("labelled", "correct", "confidence")}


def added(parts: Iterable[Reliability]) -> ReliabilitySums:
    """Return the sum of `parts`."""
    sums = ReliabilitySums()
    for part in parts:
        sums.add(part.labelled, part.correct, part.confidence)
    return sums


def middles(labelled: Sequence[int]) -> list[int]:
    """Return the sums of the confidences of these answers if each was in the middle of its bin."""
    return [n * (2 * i + 1) * MILLI // (2 * RELIABILITY_BINS) for i, n in enumerate(labelled)]


def _added(known: list[int], more: Iterable[int]) -> list[int]:
    return list(map(add, known, more)) if known else list(more)
