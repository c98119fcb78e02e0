"""Intervals of a share over time, where each moment is known as a sum over devices only. Pure.

The jackknife of fleet/estimating.py needs the sums of each device in each moment. Those of a device exist by
the hour (the raw reports besides, for three days), and reading them for a week of a thousand devices takes
seconds. So the correlation of two answers of one device is taken from the sums by device over the whole
stretch, which a page has read anyway, and carried over to its moments (the design effect of a cluster sample,
1 + (m - 1) r: Kish, "Survey Sampling", 1965, 5.4), where m is how many answers of its own device stand beside
an answer: it shrinks with the answers of the moment.

It assumes that devices are as unlike in a moment as over the stretch, and that each keeps its share of the
labels. Where one device is bad for ten minutes only, the band of these minutes is too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.estimating import Estimate, Floats, Spread, bounded, share


@dataclass(frozen=True)
class Alikeness:
    """How alike the answers of one device are. `correlation` is that of two of them; `beside` is by how many
    answers of its own device an answer is accompanied, for each answer of all devices."""

    correlation: float = 0.0
    beside: float = 0.0
    devices: int = 0


def alikeness(part: Floats, whole: Floats) -> Alikeness:
    """Return what the sums of each device over a stretch tell: right answers, and labelled ones."""
    found = share(part, whole)
    if found is None:
        return Alikeness()
    beside = float((whole**2).sum()) / float(whole.sum()) ** 2
    together = beside * float(whole.sum())
    excess = (found.design_effect or 1.0) - 1
    correlation = min(1.0, max(0.0, excess / (together - 1))) if together > 1 else 0.0
    return Alikeness(correlation, beside, found.devices)


def share_of_a_moment(right: int, labelled: int, alike: Alikeness) -> Estimate | None:
    """Return the share of a moment of the stretch, None where nothing was labelled."""
    if not labelled:
        return None
    effect = 1 + max(0.0, alike.beside * labelled - 1) * alike.correlation
    value = right / labelled
    independent = value * (1 - value) / labelled
    spread = Spread(independent, independent * effect)
    # As many devices in each moment: their spread was told by all of them, and Student's t costs 0.1 s for
    # each new number.
    return bounded(value, spread, labelled, alike.devices, labelled / effect)
