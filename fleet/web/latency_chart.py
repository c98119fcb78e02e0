"""Latency over time, of a device or of the fleet, in the unit that fits it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleet.spans import Slot
from fleet.web.charts import Chart, Curve, thinned
from wire.histogram import quantile

_MILLISECOND_US: Final = 1000.0


def latency_chart(title: str, slots: Sequence[Slot]) -> Chart:
    """Return the curves of median and 99th percentile, true over all that each slot holds."""
    busy = [slot for slot in slots if slot.counters.inferences]
    kept = [busy[i] for i in thinned(len(busy))]
    columns = {
        name: [quantile(slot.counters.latency_us, q) for slot in kept]
        for name, q in (("p50", 0.5), ("p99", 0.99))
    }
    highest_us = max((v for values in columns.values() for v in values if v is not None), default=0.0)
    unit, scale, digits = ("µs", 1.0, 0) if highest_us < _MILLISECOND_US else ("ms", _MILLISECOND_US, 2)
    curves = [
        Curve(name, [None if v is None else v / scale for v in values], colour)
        for colour, (name, values) in enumerate(columns.items(), 1)
    ]
    return Chart("latency", title, unit, [slot.start_s for slot in kept], curves, digits)
