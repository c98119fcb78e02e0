"""Whether what devices see, or answer, has moved away from a reference: a test and an effect, from counts.

For each feature of the inputs, the confidence and the classes answered, counts of a window are compared with
counts of a reference in the same bins.

Rules:
- **an alarm needs both** a p-value that holds among all that were tested (Benjamini, Hochberg, J. Royal
  Statistical Society B 57 (1995), at `ALPHA`) and an effect of at least `LEAST_EFFECT_BITS`: with enough
  answers everything is significant, with few everything seems large;
- chi-square sees any change of shape, Kolmogorov and Smirnov's D on the bins a shift of values in order, so
  where bins have an order the smaller p counts, doubled (Bonferroni);
- answers of one device resemble each other, so the covariance of the shares is estimated by leaving devices
  out, and the statistic is Rao and Scott's with the second-order correction and an F distribution (Rao,
  Scott, Annals of Statistics 12 (1984); Thomas, Rao, J. American Statistical Association 82 (1987)). The
  first-order one would do where all bins are equally affected; a dim hall moves many at once. With fewer
  than `LEAST_DEVICES` devices answers are taken as independent, and `method` says so;
- bins with fewer than `LEAST_EXPECTED` expected on either side are put together with their neighbours
  (classes: in one heap), and below `LEAST_ANSWERS` on a side nothing is tested;
- the effect is the Jensen-Shannon divergence in bits less what chance shows at these counts; a normal
  feature that moves by a quarter of its standard deviation has 0.011. The population stability index is
  there to be read by who is used to it, beside its own floor, and decides nothing: a common threshold on it
  alarms on a quarter of healthy windows of 50 answers and misses real shifts in windows of 1,000.

False alarms: at most `ALPHA` of healthy windows for all that is compared of a release together
(tests/fleet/test_drift.py simulates it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fleet.binned import Kind, Reference, Reports, Table, paired
from fleet.distributions import chi2_tail, f_tail, kolmogorov_tail, normal_quantile, t_quantile
from fleet.estimating import LEAST_DEVICES, Floats, Method, influence

#: Share of healthy windows that may raise a false alarm.
ALPHA: Final = 0.01

#: Divergence above chance that is worth a person's time, in bits.
LEAST_EFFECT_BITS: Final = 0.01

#: Answers on either side below which nothing is tested.
LEAST_ANSWERS: Final = 100

#: Cochran's rule for the approximation by chi-square.
LEAST_EXPECTED: Final = 5.0

#: Of a divergence in nats, what its second-order expansion has of the squared difference: 1/8 (Lin 1991).
_TO_BITS: Final = 1 / (8 * math.log(2))


@dataclass(frozen=True)
class Drift:
    """What was found of one thing. `p` and `adjusted_p` are None where there was too little to test.

    `effect_bits` is above chance and may be below 0; `psi_floor` is what `psi` shows on average where nothing
    has changed, if all answers are independent.
    """

    kind: Kind
    name: str
    answers: int
    reference_answers: int
    devices: int
    method: Method
    p: float | None = None
    adjusted_p: float | None = None
    effect_bits: float | None = None
    psi: float | None = None
    psi_floor: float | None = None
    alarm: bool = False


def drift(window: Reports, reference: Reports | Reference) -> tuple[Drift, ...]:
    """Return what was found of each thing that both sides counted, features by name first."""
    pairs = paired(window, reference)
    found = [_examine(*place, *pair) for place, pair in pairs.items()]
    return tuple(_decided(one, p) for one, p in zip(found, adjusted([f.p for f in found]), strict=True))


def adjusted(ps: Sequence[float | None]) -> list[float | None]:
    """Return Benjamini and Hochberg's adjusted p-values: significant are those up to the rate one accepts."""
    tested = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    result: list[float | None] = [None] * len(ps)
    least = 1.0
    for rank, (p, i) in reversed([*enumerate(tested, 1)]):
        least = min(least, p * len(tested) / rank)
        result[i] = least
    return result


def _decided(found: Drift, p: float | None) -> Drift:
    large = found.effect_bits is not None and found.effect_bits >= LEAST_EFFECT_BITS
    return replace(found, adjusted_p=p, alarm=p is not None and p <= ALPHA and large)


def _examine(kind: Kind, name: str, window: Table, reference: Table) -> Drift:
    n, m = window.answers, reference.answers
    devices = len({*window.devices, *reference.devices})
    method: Method = "devices" if len(window.devices) >= LEAST_DEVICES else "answers"
    found = Drift(kind, name, int(n), int(m), devices, method)
    if min(n, m) < LEAST_ANSWERS:
        return found
    window, reference = _pooled(window, reference, ordered=kind != "classes")
    bins = window.rows.shape[1]
    if bins < 2:  # all in one bin on both sides, before and now
        return replace(found, p=1.0, effect_bits=0.0, psi=0.0, psi_floor=0.0)
    comparison = _Comparison.of(window, reference, method)
    p = comparison.chi_square()
    if kind != "classes":
        p = min(1.0, 2 * min(p, comparison.kolmogorov()))
    return replace(
        found,
        p=p,
        effect_bits=_divergence(comparison.new, comparison.old) - _TO_BITS * comparison.noise,
        psi=_stability(window.rows.sum(0), reference.rows.sum(0)),
        psi_floor=(bins - 1) * (1 / n + 1 / m),
    )


def _pooled(window: Table, reference: Table, *, ordered: bool) -> tuple[Table, Table]:
    """Put bins together in which one side would expect too few."""
    sums = window.rows.sum(0) + reference.rows.sum(0)
    least = LEAST_EXPECTED * sums.sum() / min(window.answers, reference.answers)
    groups = _neighbours(sums, least) if ordered else _heap(sums, least)
    width = int(groups.max()) + 1

    def gathered(table: Table) -> Table:
        rows = np.zeros((len(table.rows), width))
        np.add.at(rows.T, groups, table.rows.T)
        return Table(table.devices, rows)

    return gathered(window), gathered(reference)


def _neighbours(sums: Floats, least: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    groups, group, held = np.zeros(len(sums), np.int64), 0, 0.0
    for i, count in enumerate(sums):
        groups[i] = group
        held += count
        if held >= least:
            group, held = group + 1, 0.0
    if held < least and group:  # what is left at the end belongs to the last whole one
        groups[groups == group] = group - 1
    return groups


def _heap(sums: Floats, least: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    rare = sums < least
    if rare.any() and sums[rare].sum() < least and not rare.all():  # the heap itself would be rare
        rare[np.argmin(np.where(rare, np.inf, sums))] = True
    groups = np.zeros(len(sums), np.int64)
    groups[~rare] = np.arange((~rare).sum())
    groups[rare] = (~rare).sum()
    return groups


@dataclass(frozen=True)
class _Comparison:
    """Shares of both sides, their difference's covariance, and the devices that it was estimated from."""

    new: Floats
    old: Floats
    expected: Floats
    covariance: Floats
    rate: float  # 1 / n + 1 / m
    devices: int
    method: Method

    @classmethod
    def of(cls, window: Table, reference: Table, method: Method) -> _Comparison:
        n, m = window.answers, reference.answers
        expected = (window.rows.sum(0) + reference.rows.sum(0)) / (n + m)
        independent = np.diag(expected) - np.outer(expected, expected)
        rate = 1 / n + 1 / m
        covariance, devices = independent * rate, 0
        if method == "devices":
            covariance, devices = _by_devices(window, reference)
            if not reference.devices:
                covariance = covariance + independent / m
        return cls(
            window.rows.sum(0) / n, reference.rows.sum(0) / m, expected, covariance, rate, devices, method
        )

    @property
    def noise(self) -> float:
        """What sum of (new - old)^2 / expected is on average where nothing has changed."""
        return max(float((np.diag(self.covariance) / self.expected).sum()), self._independent_noise)

    @property
    def _independent_noise(self) -> float:
        return (len(self.expected) - 1) * self.rate

    def chi_square(self) -> float:
        """Return the p-value of Rao and Scott's statistic, or of Pearson's where answers are independent."""
        squares = float(((self.new - self.old) ** 2 / self.expected).sum())
        if self.method == "answers":
            return chi2_tail(squares / self.rate, len(self.expected) - 1)
        scale = np.sqrt(self.expected)
        ratio = self.covariance / np.outer(scale, scale)
        trace, of_square = float(np.trace(ratio)), float((ratio**2).sum())
        freedom = trace**2 / of_square if of_square else len(self.expected) - 1.0
        return f_tail(squares / self.noise, freedom, freedom * (self.devices - 1))

    def kolmogorov(self) -> float:
        """Return the p-value of D on the bins, at the number of answers that they are worth in the worst."""
        gap = float(np.abs(np.cumsum(self.new - self.old)).max())
        below = np.cumsum(self.expected)[:-1]
        independent = below * (1 - below) * self.rate
        lower = np.tri(len(self.expected))[:-1]
        actual = np.einsum("ij,jk,ik->i", lower, self.covariance, lower)
        effect = max(1.0, float((actual / independent).max()))
        few = 1.0
        if self.method == "devices":
            few = (normal_quantile(1 - ALPHA / 2) / t_quantile(1 - ALPHA / 2, self.devices - 1)) ** 2
        return kolmogorov_tail(gap * math.sqrt(few / (self.rate * effect)))


def _by_devices(window: Table, reference: Table) -> tuple[Floats, int]:
    """Return the jackknife's covariance of the difference of the shares, and the number of devices."""
    places = {device: i for i, device in enumerate(dict.fromkeys([*window.devices, *reference.devices]))}
    moved = np.zeros((len(places), window.rows.shape[1]))
    moved[[places[d] for d in window.devices]] += _influences(window.rows)
    if reference.devices:
        moved[[places[d] for d in reference.devices]] -= _influences(reference.rows)
    count = len(places)
    return moved.T @ moved * (count - 1) / count, count


def _influences(rows: Floats) -> Floats:
    """Return by how much the share of each bin would change without each device."""
    return influence(rows, rows.sum(1, keepdims=True))


def _divergence(new: Floats, old: Floats) -> float:
    """Return the Jensen-Shannon divergence in bits (Lin, IEEE Trans. Information Theory 37 (1991))."""
    middle = (new + old) / 2

    def from_middle(shares: Floats) -> float:
        filled = shares > 0
        return float((shares[filled] * np.log2(shares[filled] / middle[filled])).sum())

    return (from_middle(new) + from_middle(old)) / 2


def _stability(new: Floats, old: Floats) -> float:
    """Return the population stability index, half an answer added to each bin."""
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (new, old))
    return float(((p - q) * np.log(p / q)).sum())
