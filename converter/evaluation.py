"""How well a model answers, and what it answers differently from the model that it was made from.

Accuracy alone hides damage: a quantized model can be as accurate as before with 7 % of its answers
changed, or pay for its size with one class. So recall is kept by class, and right answers that
became wrong are counted apart from wrong ones that became right. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """One model on `count` test samples; shares are 0 to 1.

    `recalls` has one entry for each output, None for a class that the test data lacks. `agreement`
    is the share of samples whose best output is the reference's too; `newly_wrong` and
    `newly_right` count the samples whose correctness changed against the reference;
    `worst_difference` is the largest absolute difference of any output from the reference's.
    """

    count: int
    accuracy: float
    recalls: tuple[float | None, ...]
    agreement: float
    newly_wrong: int
    newly_right: int
    worst_difference: float

    @property
    def worst_recall(self) -> float:
        """The lowest recall of the classes that the test data has."""
        return min(recall for recall in self.recalls if recall is not None)


@dataclass(frozen=True)
class Latency:
    """Single calls on this machine, one thread, in microseconds. A board's are others."""

    median_us: float
    p99_us: float


@dataclass(frozen=True)
class RecallDrop:
    """The class whose recall fell most, and by how much (0 to 1; negative when all rose)."""

    position: int
    drop: float


def evaluate(outputs: Array, reference: Array, truth: Array) -> Evaluation:
    """Compare `outputs` with `reference` (both [n, classes]) and with `truth` (class numbers [n])."""
    answers, before = np.argmax(outputs, -1), np.argmax(reference, -1)
    right, was_right = answers == truth, before == truth
    return Evaluation(
        count=len(truth),
        accuracy=float(np.mean(right)),
        recalls=_recalls(right, truth, outputs.shape[-1]),
        agreement=float(np.mean(answers == before)),
        newly_wrong=int(np.sum(was_right & ~right)),
        newly_right=int(np.sum(right & ~was_right)),
        worst_difference=float(np.max(np.abs(outputs.astype(np.float64) - reference))),
    )


def largest_recall_drop(before: Evaluation, after: Evaluation) -> RecallDrop:
    """Return which class lost most recall from `before` to `after`."""
    drops = [
        RecallDrop(position, old - new)
        for position, (old, new) in enumerate(zip(before.recalls, after.recalls, strict=True))
        if old is not None and new is not None
    ]
    return max(drops, key=lambda found: found.drop)


def _recalls(right: Array, truth: Array, classes: int) -> tuple[float | None, ...]:
    members = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth[right], minlength=classes)
    return tuple(float(h / m) if m else None for h, m in zip(hits, members, strict=True))
