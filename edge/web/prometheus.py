"""The text that Prometheus reads. Pure.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Family:
    """One metric with its samples: (labels, value); `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]] = ()
    histograms: Sequence[tuple[Labels, Histogram]] = ()


@dataclass(frozen=True)
class Histogram:
    """Counts of values up to each bound and one more for those above, and the sum of all values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


def render(families: Iterable[Family]) -> bytes:
    """Return the page for /metrics."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escape(family.help, quote=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples]
        for labels, histogram in family.histograms:
            lines += _histogram(family.name, labels, histogram)
    return ("\n".join(lines) + "\n").encode()


def _histogram(name: str, labels: Labels, histogram: Histogram) -> list[str]:
    lines, below = [], 0
    bounds = [_number(bound) for bound in histogram.bounds] + ["+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        below += count
        lines.append(f"{name}_bucket{_labels((*labels, ('le', bound)))} {below}")
    lines.append(f"{name}_sum{_labels(labels)} {_number(histogram.total)}")
    lines.append(f"{name}_count{_labels(labels)} {below}")
    return lines


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def by_label(counts: Mapping[str, int], name: str, labels: Labels = ()) -> list[tuple[Labels, float]]:
    """Return samples of counts that differ in one label."""
    return [((*labels, (name, key)), count) for key, count in sorted(counts.items())]
