"""What a simulated model answered in one interval, as counters: drawn at random, and consistent.

Truths are drawn by class, answers from truths by the accuracy of the moment (a wrong one is the class
beside it), labels from answers; so the confusion matrix, the classes, the calibration and the slices of a
report are of the same answers, as those of a real device are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from fleet.reliability_sums import middles
from wire.counters import (
    CONFIDENCE_BINS,
    RELIABILITY_BINS,
    Buckets,
    Cells,
    Classes,
    FeatureCounts,
    ModelCounters,
    Reliability,
    SliceCounters,
)
from wire.histogram import BUCKETS, EMPTY, PER_LOG

Rng = np.random.Generator

#: Bins of a feature hold a tenth of the reference each.
_BINS: Final = 10
_EDGES: Final = (-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816)
_LATENCY_SPREAD: Final = 0.22


@dataclass(frozen=True)
class Ability:
    """What a model on one board is like at one moment."""

    release: str
    accuracy: float
    latency_us: float
    drift_sd: float
    classes: int
    labelled: float
    features: tuple[str, ...]
    tags: tuple[str, ...]


def answer(rng: Rng, ability: Ability, n: int, total: int) -> ModelCounters:
    """Return the counters of `n` answers; `total` are those since boot, with these."""
    truth = rng.multinomial(n, _class_shares(ability.classes, round(ability.drift_sd, 2)))
    right = rng.binomial(truth, ability.accuracy)
    wrong = truth - right
    known_right = rng.binomial(right, ability.labelled)
    known_wrong = rng.binomial(wrong, ability.labelled)
    labelled, correct = int((known_right + known_wrong).sum()), int(known_right.sum())
    certain, uncertain = _confidence_shares(round(ability.drift_sd, 2))
    return ModelCounters(
        release=ability.release,
        inferences=n,
        errors=0,
        latency_us=_latencies(rng, ability.latency_us, n),
        labelled=labelled,
        correct=correct,
        total=total,
        confusion=_cells(known_right, known_wrong),
        predicted=_classes(right + np.roll(wrong, 1)),
        confidence=_ints(
            rng.multinomial(int(right.sum()), certain) + rng.multinomial(int(wrong.sum()), uncertain)
        ),
        reliability=_reliability(rng, correct, labelled - correct, (certain, uncertain)),
        features=tuple(
            FeatureCounts(name, _ints(rng.multinomial(n, _feature_shares(round(ability.drift_sd, 2)))))
            for name in ability.features
        ),
        slices=tuple(SliceCounters(tag, n, labelled, correct) for tag in ability.tags),
    )


def _latencies(rng: Rng, median_us: float, n: int) -> Buckets:
    if n == 0:
        return EMPTY
    logs = math.log(median_us) + _LATENCY_SPREAD * rng.standard_normal(n)
    buckets = np.clip(np.ceil(logs * PER_LOG), 0, BUCKETS - 1).astype(np.int64)
    first = int(buckets.min())
    return Buckets(first, _ints(np.bincount(buckets - first)))


def _cells(right: Any, wrong: Any) -> Cells:
    """Answers that were right lie on the diagonal; those that were wrong, one beside it."""
    size = len(right)
    cells = [(c, c, int(right[c])) for c in range(size) if right[c]]
    cells += [(c, (c + 1) % size, int(wrong[c])) for c in range(size) if wrong[c]]
    truth, predicted, counts = zip(*cells, strict=True) if cells else ((), (), ())
    return Cells(truth, predicted, counts)


def _classes(counts: Any) -> Classes:
    (seen,) = np.nonzero(counts)
    return Classes(_ints(seen), _ints(counts[seen]))


def _reliability(rng: Rng, correct: int, mistaken: int, shares: tuple[Any, Any]) -> Reliability:
    if not correct + mistaken:
        return Reliability()
    certain, uncertain = (s.reshape(RELIABILITY_BINS, -1).sum(axis=1) for s in shares)
    right = rng.multinomial(correct, certain)
    labelled = right + rng.multinomial(mistaken, uncertain)
    # As if spread evenly in each bin, like the shares that they are drawn from.
    return Reliability(_ints(labelled), _ints(right), tuple(middles(_ints(labelled))))


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(values.tolist())


@cache
def _class_shares(classes: int, drift_sd: float) -> Any:
    """Return how often each class is the truth; with drift the first ones become more frequent."""
    weights = np.exp(-drift_sd * np.arange(classes) / classes)
    return weights / weights.sum()


@cache
def _feature_shares(drift_sd: float) -> Any:
    """Return the share of each bin of a normal feature whose mean has moved by `drift_sd`."""
    below = [0.5 * (1 + math.erf((edge - drift_sd) / math.sqrt(2))) for edge in _EDGES]
    shares = np.diff([0.0, *below, 1.0])
    return shares / shares.sum()


@cache
def _confidence_shares(drift_sd: float) -> tuple[Any, Any]:
    """Return the shares of the bins of confidence, of right and of wrong answers; drift makes them unsure."""
    middle = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    steep = 9.0 / (1 + 0.6 * abs(drift_sd))
    certain, uncertain = np.exp(steep * (middle - 1)), np.exp(-((middle - 0.55) ** 2) / 0.05)
    return certain / certain.sum(), uncertain / uncertain.sum()
