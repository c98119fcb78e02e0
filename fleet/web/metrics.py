"""The fleet as metrics for Prometheus. Pure; the text is made by prometheus_client.

Counters are sums over all devices since the first report, so that a rate over any stretch is right.
Rows of single devices are there for the first `MOST_DEVICES` by name: a million series would drown a server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet.alerts import Alert
from fleet.progress import STANDINGS, Rollout
from fleet.web.condition import WORDS, condition
from fleet.web.reading import DeviceNow
from wire.counters import Buckets, ModelCounters
from wire.histogram import value_of

MOST_DEVICES: Final = 1000

#: Upper bounds of the latency histogram, in seconds: three a decade, from 100 µs to 10 s.
BOUNDS_S: Final = (
    1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip

Total = Callable[[str], ModelCounters]


def exposition(
    devices: Sequence[DeviceNow],
    *,
    releases: Iterable[str],
    total_of: Total,
    rollouts: Iterable[Rollout],
    alerts: Iterable[Alert],
    refusals: Mapping[str, int],
) -> bytes:
    """Return the page for /metrics, text format 0.0.4."""
    families = [
        *_of_fleet(devices, rollouts, alerts, refusals),
        *_of_releases(releases, total_of, devices),
        *_of_devices(devices),
    ]
    registry = CollectorRegistry()
    registry.register(_Found(families))
    return generate_latest(registry)


class _Found(Collector):
    """What the library asks for families: they are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_fleet(
    devices: Sequence[DeviceNow],
    rollouts: Iterable[Rollout],
    alerts: Iterable[Alert],
    refusals: Mapping[str, int],
) -> Iterator[Metric]:
    words = Counter(condition(device).word for device in devices)
    states = GaugeMetricFamily("edgeflock_devices", "Devices by condition", labels=["condition"])
    for word in WORDS:
        states.add_metric([word], words[word])
    yield states
    labels = ["group", "model", "release", "state", "standing"]
    parts = GaugeMetricFamily("edgeflock_rollout_devices", "Devices of a rollout by standing", labels=labels)
    for rollout in rollouts:
        for standing in STANDINGS:
            names = [rollout.group, rollout.model, rollout.release, rollout.state, standing]
            parts.add_metric(names, rollout.count(standing))
    yield parts
    told = GaugeMetricFamily(
        "edgeflock_alert", "Alerts that stand: how many findings", labels=["key", "severity"]
    )
    for alert in alerts:
        told.add_metric([alert.key, alert.severity], len(alert.findings))
    yield told
    refused = CounterMetricFamily(
        "edgeflock_messages_refused", "Messages that were not understood", labels=["kind"]
    )
    for kind, count in refusals.items():
        refused.add_metric([kind], count)
    yield refused


def _of_releases(releases: Iterable[str], total_of: Total, devices: Sequence[DeviceNow]) -> Iterator[Metric]:
    running = GaugeMetricFamily("edgeflock_release_devices", "Devices that run it now", labels=["release"])
    counters = {
        name: CounterMetricFamily(f"edgeflock_{name}", text, labels=["release"])
        for name, text in (
            ("inferences", "Answers"), ("errors", "Answers that failed"),
            ("labelled", "Answers with a label"), ("correct", "Labelled answers that were right"),
        )
    }  # fmt: skip
    latency = HistogramMetricFamily("edgeflock_latency_seconds", "Latency of answers", labels=["release"])
    judged = CounterMetricFamily(
        "edgeflock_values_judged", "Answers that are values, with a truth", labels=["release", "column"]
    )
    off = CounterMetricFamily(
        "edgeflock_values_off", "Their errors without their sign, together", labels=["release", "column"]
    )
    for release in releases:
        total = total_of(release)
        running.add_metric([release], sum(device.runs(release) for device in devices))
        for name, family in counters.items():
            family.add_metric([release], getattr(total, name))
        buckets, sum_s = cumulated(total.latency_us)
        latency.add_metric([release], buckets, sum_s)
        for one in total.values:
            judged.add_metric([release, str(one.column)], one.errors.count)
            off.add_metric([release, str(one.column)], one.off)
    yield from (running, *counters.values(), latency, judged, off)


def cumulated(latency: Buckets) -> tuple[list[tuple[str, float]], float]:
    """Return (bound, count up to it) for each of `BOUNDS_S` and +Inf, and the sum, in seconds."""
    values = [(value_of(i) / 1e6, n) for i, n in enumerate(latency.counts, latency.first) if n]
    counts = [(str(bound), float(sum(n for value, n in values if value <= bound))) for bound in BOUNDS_S]
    counts.append(("+Inf", float(sum(n for _, n in values))))
    return counts, sum(value * n for value, n in values)


def _of_devices(devices: Sequence[DeviceNow]) -> Iterator[Metric]:
    told = devices[:MOST_DEVICES]
    gauges: dict[str, tuple[str, Callable[[DeviceNow], float | None]]] = {
        "online": ("Whether it is connected and speaks", lambda d: float(d.row.presence == "online")),
        "last_seen_timestamp_seconds": ("When it spoke last", lambda d: d.last_seen_s),
        "cpu_ratio": ("Use of all cores", lambda d: _scaled(d.row.cpu_percent, 100)),
        "temperature_celsius": ("Temperature", lambda d: d.row.temperature_c),
        "resident_memory_bytes": ("Memory of the agent", lambda d: d.row.rss_bytes),
        "lost": ("Errors and drops", lambda d: float(d.lost)),
        "latency_p99_seconds": ("99th percentile of its first model", lambda d: _scaled(d.row.p99_us, 1e6)),
    }
    for name, (text, read) in gauges.items():
        family = GaugeMetricFamily(f"edgeflock_device_{name}", text, labels=["device"])
        for device in told:
            value = read(device)
            if value is not None:
                family.add_metric([device.name], value)
        yield family


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by
