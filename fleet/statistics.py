"""Small-sample honesty: intervals instead of bare percentages."""

from __future__ import annotations

import math
from typing import Final

#: Two-sided 95 %: the probability below the upper bound, and that bound of the normal distribution.
P95: Final = 0.975
Z95: Final = 1.959964


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float] | None:
    """Return the Wilson score interval of a proportion, or None without trials.

    Wilson, "Probable inference", JASA 22 (1927). It treats samples as independent: for one device
    and one release that is the claim made; over a fleet, samples of one device are not independent, and
    fleet/estimating.py gives it the number of independent samples that they are worth, which is no integer.
    """
    if trials <= 0:
        return None
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
