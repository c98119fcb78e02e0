"""Two releases on the same devices: is one worse, or are these two shares of different devices?

Rules:
- only devices with labelled answers of both count, each against itself: a dim hall is dim for both;
- the difference is Mantel and Haenszel's, sum of w (after - before) / sum of w with
  w = n_before n_after / (n_before + n_after) (Greenland, Robins, Biometrics 41 (1985)), so that a device with
  many labels of one release and few of the other tilts nothing;
- its variance is the jackknife over devices, but never less than that of independent answers (plus-four
  shares: Agresti, Caffo, American Statistician 54 (2000)), since the answers are different ones;
- with fewer than `LEAST_DEVICES` devices only the latter is known, and `method` says so;
- it may be looked at; a rollout that is stopped at the first bad look needs a test that is made for
  looking often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fleet.distributions import t_quantile
from fleet.estimating import LEAST_DEVICES, Floats, Method, column, influence, variance
from fleet.statistics import P95, Z95
from wire.counters import ModelCounters


@dataclass(frozen=True)
class Difference:
    """How much the accuracy of `after` is above that of `before`, as a share: -0.02 is two points less.

    `verdict` is `better` or `worse` where the 95 % interval leaves out 0.
    """

    value: float
    low: float
    high: float
    method: Method
    devices: int
    verdict: Literal["better", "worse", "unclear"]


def compare(before: Mapping[str, ModelCounters], after: Mapping[str, ModelCounters]) -> Difference | None:
    """Return the difference on the devices that have labelled answers of both; None without any."""
    shared = [
        (before[device], after[device])
        for device in before
        if before[device].labelled and device in after and after[device].labelled
    ]
    if not shared:
        return None
    old_n, old_right = column(b.labelled for b, _ in shared), column(b.correct for b, _ in shared)
    new_n, new_right = column(a.labelled for _, a in shared), column(a.correct for _, a in shared)
    weights: Floats = old_n * new_n / (old_n + new_n)
    parts: Floats = weights * (new_right / new_n - old_right / old_n)
    value = float(parts.sum() / weights.sum())
    independent = _independent(weights, _plus_four(old_right, old_n) + _plus_four(new_right, new_n))
    method: Method = "devices" if len(shared) >= LEAST_DEVICES else "answers"
    wide = math.sqrt(independent) * Z95
    if method == "devices":
        spread = max(independent, variance(influence(parts, weights)))
        wide = math.sqrt(spread) * t_quantile(P95, len(shared) - 1)
    low, high = max(-1.0, value - wide), min(1.0, value + wide)
    verdict: Literal["better", "worse", "unclear"] = (
        "worse" if high < 0 else "better" if low > 0 else "unclear"
    )
    return Difference(value, low, high, method, len(shared), verdict)


def _plus_four(right: Floats, count: Floats) -> Floats:
    p = (right + 1) / (count + 2)
    spread: Floats = p * (1 - p) / (count + 2)
    return spread


def _independent(weights: Floats, variances: Floats) -> float:
    return float((weights**2 * variances).sum() / weights.sum() ** 2)
