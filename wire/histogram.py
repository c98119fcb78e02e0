"""A mergeable logarithmic histogram with a bounded relative error.

Bucket i holds values in (GAMMA**(i-1), GAMMA**i] microseconds, so a quantile is right within
ALPHA = 1 % at any scale, and the sum of two histograms is the histogram of both (the mapping is
DDSketch's: Masson, Rim, Lee, "DDSketch", VLDB 2019, section 2). The constants are part of the protocol.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import add
from typing import Final

from wire.counters import Buckets

ALPHA: Final = 0.01
GAMMA: Final = (1 + ALPHA) / (1 - ALPHA)
PER_LOG: Final = 1 / math.log(GAMMA)

#: Bucket 0 ends at 1 µs; the last one at about 137 s. What lies outside is counted in the end buckets.
BUCKETS: Final = 938

EMPTY: Final = Buckets(0, ())


def bucket_of(value_us: float) -> int:
    """Return the bucket of a latency in microseconds, clamped to the histogram's range."""
    if value_us <= 1.0:
        return 0
    return min(BUCKETS - 1, math.ceil(math.log(value_us) * PER_LOG))


def value_of(bucket: int) -> float:
    """Return the value in microseconds that stands for `bucket`, at most ALPHA away from any in it."""
    return 2 * math.pow(GAMMA, bucket) / (GAMMA + 1)


def pack(counts: Sequence[int]) -> Buckets:
    """Return dense counts (index 0 = bucket 0) without the zeros at both ends."""
    filled = [i for i, n in enumerate(counts) if n]
    if not filled:
        return EMPTY
    return Buckets(filled[0], tuple(counts[filled[0] : filled[-1] + 1]))


def merge(parts: Iterable[Buckets]) -> Buckets:
    """Return the histogram of all values of `parts`; raise ValueError for buckets out of range."""
    filled = [part for part in parts if part.counts]
    first = min((part.first for part in filled), default=0)
    end = max((part.first + len(part.counts) for part in filled), default=0)
    if first < 0 or end > BUCKETS:
        raise ValueError(f"histogram reaches past bucket {BUCKETS - 1}")
    total = [0] * (end - first)
    for part in filled:
        at = slice(part.first - first, part.first - first + len(part.counts))
        total[at] = map(add, total[at], part.counts)
    whole = pack(total)
    return Buckets(first + whole.first, whole.counts) if whole.counts else EMPTY


def count(histogram: Buckets) -> int:
    """Return how many values `histogram` holds."""
    return sum(histogram.counts)


def quantile(histogram: Buckets, q: float) -> float | None:
    """Return the q-quantile (nearest rank) in microseconds, or None when there are no values."""
    n = count(histogram)
    if n == 0:
        return None
    rank = max(1, math.ceil(q * n))
    seen = 0
    for i, k in enumerate(histogram.counts, histogram.first):
        seen += k
        if seen >= rank:
            return value_of(i)
    raise AssertionError("unreachable: the counts sum to n")
