"""The three distributions that the fleet's tests need, from mpmath: 5 MB in pure Python, where scipy is 214.

A context of our own, behind a lock: mpmath raises a context's precision while it works, and both the
evaluator's thread and that of a page may ask.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from statistics import NormalDist
from typing import Final

from mpmath import MPContext

_CONTEXT: Final = MPContext()
_LOCK: Final = threading.Lock()

#: Past so many degrees of freedom Student's t is the normal distribution to four digits.
_NORMAL_FROM: Final = 20_000

#: Kolmogorov's series: below, its sum is 1 to 16 digits; its terms fall by exp(-2 k^2 x^2).
_KOLMOGOROV_FROM: Final = 0.2
_KOLMOGOROV_TERMS: Final = 40


def normal_quantile(p: float) -> float:
    """Return the value that a standard normal variable is below with probability `p`."""
    return NormalDist().inv_cdf(p)


def chi2_tail(x: float, freedom: float) -> float:
    """Return P(X > x) of a chi-square variable: Q(freedom / 2, x / 2) (DLMF 8.2.4)."""
    if x <= 0:
        return 1.0
    with _LOCK:
        return float(_CONTEXT.gammainc(freedom / 2, x / 2, _CONTEXT.inf, regularized=True))


def f_tail(x: float, above: float, below: float) -> float:
    """Return P(F > x) with `above` and `below` degrees of freedom (DLMF 8.17.2, by the incomplete beta)."""
    if x <= 0:
        return 1.0
    return _beta(below / 2, above / 2, below / (below + above * x))


def kolmogorov_tail(x: float) -> float:
    """Return P(sup |B(t)| > x) of a Brownian bridge.

    Kolmogorov (1933); the limit of sqrt(n) D for samples without ties. Of binned values D is smaller, so
    that the probability said here is too large, never too small.
    """
    if x < _KOLMOGOROV_FROM:
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, _KOLMOGOROV_TERMS))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


@lru_cache(maxsize=4096)
def t_quantile(p: float, freedom: int) -> float:
    """Return the value that Student's t is below with probability `p` > 0.5; raise ValueError otherwise."""
    if not 0.5 < p < 1 or freedom < 1:
        raise ValueError(f"no quantile {p} of t with {freedom} degrees of freedom")
    if freedom >= _NORMAL_FROM:
        return normal_quantile(p)
    low, high = 0.0, 1.0
    while _t_tail(high, freedom) > 1 - p:
        low, high = high, 2 * high
    for _ in range(40):  # halving: to 1e-10 of the answer
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, freedom) > 1 - p else (low, middle)
    return (low + high) / 2


def _t_tail(t: float, freedom: int) -> float:
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2


def _beta(a: float, b: float, x: float) -> float:
    with _LOCK:
        return float(_CONTEXT.betainc(a, b, 0, x, regularized=True))
