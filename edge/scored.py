"""Answers with what is read of each: class, confidence, margin. Many at once, on the control thread."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np

from edge.backend import Array
from edge.prediction import Reading
from edge.results import Result
from edge.scoring import Scoring, scoring_for

#: Models whose answers may lie in one queue: the one that serves and those before it.
_MODELS: Final = 8


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer. `classes` is how many there are, 0 where no class can be right; NaN is not known.

    `margin` is how far the best value of the output is ahead of the second.
    """

    result: Result
    said: int
    confidence: float
    margin: float = nan
    classes: int = 0


class Scorer:
    """Reads answers of whichever model gave them."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Reading, Scoring | None]] = OrderedDict()

    def score(self, results: Iterable[Result]) -> list[Scored]:
        """Return `results`, read, in an order of models."""
        groups: dict[int, list[Result]] = defaultdict(list)
        for result in results:
            groups[id(result.prediction[0])].append(result)
        return [one for group in groups.values() for one in self._score(group)]

    def _score(self, results: list[Result]) -> list[Scored]:
        scoring = self._scoring(results[0].prediction[0])
        if scoring is None:
            return [Scored(r, r.prediction.best, r.prediction.confidence) for r in results]
        fit = [r for r in results if r.prediction.raw[0].size == scoring.width]
        if not fit:
            return []
        raw = np.concatenate([r.prediction.raw[0].reshape(1, -1) for r in fit])
        classes, confidences = scoring.read(raw)
        columns = zip(fit, classes.tolist(), confidences.tolist(), _margins(raw, confidences), strict=True)
        return [Scored(r, said, sure, margin, scoring.classes) for r, said, sure, margin in columns]

    def _scoring(self, reading: Reading) -> Scoring | None:
        found = self._known.get(id(reading))
        if found is None:
            # The reading is kept beside its id: another object could come to have that number.
            found = self._known[id(reading)] = reading, scoring_for(reading.outputs, reading.manifest)
            if len(self._known) > _MODELS:
                self._known.popitem(last=False)
        return found[1]


def _margins(raw: Array, confidences: Array) -> list[float]:
    if raw.shape[1] == 1:
        single: list[float] = np.abs(2 * confidences - 1).tolist()
        return single
    top = np.partition(raw.astype(np.float64), -2, axis=1)[:, -2:]
    margins: list[float] = (top[:, 1] - top[:, 0]).tolist()
    return margins
