"""Shares over a fleet with intervals that know that the samples of one device are not independent.

Ten thousand answers of one dark corridor are not ten thousand facts about a model: devices are the
clusters of a cluster sample, and a share is a ratio of two sums over them.

Rules:
- the value is the ratio of the sums, never a mean of devices' shares;
- its variance is the delete-one-device jackknife (Cochran, "Sampling Techniques", 1977, 6.17; of the
  cluster-robust estimators the one that errs on the wide side: MacKinnon, Nielsen, Webb, "Cluster-robust
  inference: a guide to empirical practice", J. Econometrics 232 (2023), CV3). A device that holds most of
  the answers makes it wide, as it should: without it we would know little;
- the interval is Wilson's at the effective number of answers, n / design effect, scaled for the few
  devices by (z / t)^2 with devices - 1 degrees of freedom and never above n (Korn, Graubard, Survey
  Methodology 24 (1998); Franco, Little, Louis, Slud, J. Survey Statistics and Methodology 7 (2019)).
  It stays within 0 and 1, and does not shrink to a point where every answer was right;
- with fewer than `LEAST_DEVICES` there is no telling how devices differ: then it is Wilson's on the bare
  counts, and `method` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fleet.distributions import t_quantile
from fleet.statistics import P95, Z95, wilson

Floats = npt.NDArray[np.float64]

#: Devices that a spread between devices can be told from.
LEAST_DEVICES: Final = 3

#: `devices`: as above; `answers`: as if all answers were independent.
Method = Literal["devices", "answers"]


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval. It is of `answers` labelled answers from `devices` devices.

    `design_effect` is how many times larger its variance is than that of as many independent answers;
    None where that cannot be told.
    """

    value: float
    low: float
    high: float
    method: Method
    answers: int
    devices: int
    design_effect: float | None = None


@dataclass(frozen=True)
class Spread:
    """What an interval is made of: the variance of independent answers, and that by leaving devices out."""

    independent: float
    devices: float


def share(part: Floats, whole: Floats) -> Estimate | None:
    """Return the share `sum(part) / sum(whole)`, an entry for each device; None where there is nothing."""
    part, whole = part[whole > 0], whole[whole > 0]
    count = float(whole.sum())
    if not count:
        return None
    value = float(part.sum()) / count
    spread = Spread(value * (1 - value) / count, variance(influence(part, whole)))
    return bounded(value, spread, count, len(whole))


def influence(part: Floats, whole: Floats) -> Floats:
    """Return by how much the share would change without each device; 0 for one that has it all.

    `part` is [devices], or [devices, parts] of a `whole` of [devices, 1].
    """
    count = whole.sum()
    rest = count - whole
    moved = (part.sum(0) / count) * whole - part
    changed: Floats = np.divide(moved, rest, out=np.zeros_like(moved), where=rest > 0)
    return changed


def variance(influences: Floats) -> float:
    """Return the jackknife's variance from what each device changes."""
    count = len(influences)
    return float((influences**2).sum()) * (count - 1) / count if count > 1 else 0.0


def bounded(
    value: float, spread: Spread, answers: float, devices: int, worth: float | None = None
) -> Estimate:
    """Return `value` with its interval; `worth` is of how many answers it is where its spread is 0."""
    independent = worth or answers
    if devices < LEAST_DEVICES:
        low, high = _wilson(value, _worth(value, spread.independent, independent))
        return Estimate(value, low, high, "answers", round(answers), devices)
    effect = spread.devices / spread.independent if spread.independent > 0 else None
    worst = max(spread.devices, spread.independent)
    few = (Z95 / t_quantile(P95, devices - 1)) ** 2
    low, high = _wilson(value, few * _worth(value, worst, independent))
    return Estimate(value, low, high, "devices", round(answers), devices, effect)


def _worth(value: float, variance_: float, answers: float) -> float:
    return value * (1 - value) / variance_ if variance_ > 0 else answers


def _wilson(value: float, trials: float) -> tuple[float, float]:
    found = wilson(value * trials, trials)
    assert found is not None, "an estimate is made of answers"
    return min(value, found[0]), max(value, found[1])


def column(values: Any) -> Floats:
    """Return numbers as an array that the functions here take."""
    return np.fromiter(values, dtype=np.float64)
