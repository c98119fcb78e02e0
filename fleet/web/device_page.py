"""One device: how it is, curves over time, what its models did, and its journal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.health_rules import throttling
from fleet.spans import Slot, Spread, VitalsSpan
from fleet.web import wording
from fleet.web.charts import Chart, Curve
from fleet.web.condition import Condition, condition
from fleet.web.counted_line import CountedLine, counted_line
from fleet.web.latency_chart import latency_chart
from fleet.web.lookback import SPANS, Span
from fleet.web.overview import doing
from fleet.web.reading import DeviceNow, EventLine
from fleet.web.tiles import Tile
from wire.counters import ModelCounters
from wire.messages import Vitals


@dataclass(frozen=True)
class DevicePage:
    """All that the page shows."""

    name: str
    condition: Condition
    groups: Sequence[str]
    last_seen_s: float
    tiles: Sequence[Tile]
    facts: Sequence[tuple[str, str]]
    charts: Sequence[Chart]
    models: Sequence[CountedLine]
    events: Sequence[EventLine]
    span: Span
    spans: Sequence[Span] = SPANS


@dataclass(frozen=True)
class DeviceReadings:
    """What was read of a device in a span: its slots, its sums by release, its vitals; and its journal."""

    slots: Sequence[Slot]
    releases: Mapping[str, ModelCounters]
    vitals: Sequence[VitalsSpan]
    events: Sequence[EventLine]


def device_page(device: DeviceNow, read: DeviceReadings, chosen: Span) -> DevicePage:
    """Return what the page of `device` shows."""
    return DevicePage(
        name=device.name,
        condition=condition(device),
        groups=device.groups,
        last_seen_s=device.last_seen_s,
        tiles=_tiles(device),
        facts=_facts(device),
        charts=[
            chart
            for chart in (latency_chart("Latency", read.slots), *_vital_charts(read.vitals))
            if chart.times_s
        ],
        models=[counted_line(*found) for found in sorted(read.releases.items(), reverse=True)],
        events=read.events,
        span=chosen,
    )


def _tiles(device: DeviceNow) -> list[Tile]:
    row = device.row
    interval = wording.percent_range(row.accuracy_low, row.accuracy_high)
    return [
        Tile(
            "runs",
            ", ".join(r.current for r in device.rows if r.current) or "no model",
            "; ".join(filter(None, map(doing, device.rows))) or f"state {row.state or 'unknown'}",
        ),
        Tile(
            "answers",
            wording.rate(sum(r.rate_hz for r in device.rows if r.rate_hz is not None)),
            f"{wording.short_count(sum(r.inferences for r in device.rows))} since the first",
        ),
        Tile("latency", wording.micros(row.p50_us), f"p99 {wording.micros(row.p99_us)}, last report"),
        Tile(
            "accuracy", wording.percent(row.accuracy), interval if row.labelled else "no labels yet"
        ),
        Tile("temperature", wording.celsius(row.temperature_c), _throttle(device.vitals)),
        Tile(
            "lost",
            wording.count(device.lost),
            f"{device.lost - row.dropped} errors, {row.dropped} dropped",
            "warn" if device.lost else "",
        ),
    ]  # fmt: skip


def _throttle(vitals: Vitals | None) -> str:
    if vitals is None or vitals.throttled is None:
        return "throttling not told"
    now, before = throttling(vitals.throttled), throttling(vitals.throttled >> 16)
    if now:
        return f"{', '.join(now)} now"
    return f"{', '.join(before)} since the start" if before else "never throttled"


def _facts(device: DeviceNow) -> list[tuple[str, str]]:
    vitals, row = device.vitals, device.row
    version = f"version {row.timestamp_version}" if row.timestamp_version else None
    facts: list[tuple[str, str | None]] = [
        ("board", device.board),
        ("clock", row.clock),
        ("metadata", version),
    ]
    if vitals is not None:
        facts += [
            ("CPU, all cores", wording.percent(vitals.cpu_percent / 100, 0)),
            ("CPU of the agent, one core", wording.percent(vitals.process_cpu_percent / 100, 0)),
            ("memory of the agent", wording.size(vitals.rss_bytes)),
            ("memory left", wording.size(vitals.memory_available_bytes)),
            ("disk left", wording.size(vitals.disk_free_bytes)),
            ("swap used", _size(vitals.swap_used_bytes)),
            ("written to disk", _size(vitals.disk_written_bytes)),
            ("sent", _size(vitals.network_sent_bytes)),
            ("received", _size(vitals.network_received_bytes)),
            ("file system errors", _count(vitals.filesystem_errors)),
            ("under-voltages", _count(vitals.undervoltages)),
            ("below full clock", _told(vitals.throttled_s, "{:.0f} s of the last interval")),
            ("clock rate", _told(vitals.clock_mhz, "{:.0f} MHz")),
            ("up for", wording.ago(vitals.uptime_s).removesuffix(" ago") if vitals.uptime_s else None),
        ]
    return [(name, text) for name, text in facts if text]


def _told(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _size(value: int | None) -> str | None:
    return None if value is None else wording.size(value)


def _count(value: int | None) -> str | None:
    return None if value is None else wording.count(value)


def _vital_charts(vitals: Sequence[VitalsSpan]) -> list[Chart]:
    return [
        _measure("temperature", "Temperature", "°C", vitals, [v.temperature_c for v in vitals], colour=2),
        _measure("cpu", "CPU, all cores", "%", vitals, [v.cpu_percent for v in vitals], colour=1),
        _measure("memory", "Agent's memory", "MB", vitals, [_mega(v.rss_bytes) for v in vitals], colour=3),
        _measure("throttled", "Slowed down", "s", vitals, [v.throttled_s for v in vitals], colour=4),
    ]


def _measure(
    name: str,
    title: str,
    unit: str,
    vitals: Sequence[VitalsSpan],
    values: Sequence[Spread | None],
    *,
    colour: int = 1,
) -> Chart:
    """Return the curve of one measure; with its lowest and highest where a point is more than a report."""
    if not any(value is not None for value in values):
        return Chart(name, title, unit, (), ())
    curves = [Curve("mean", [None if v is None else v.mean for v in values], colour)]
    if any(span.reports > 1 for span in vitals):
        curves.append(Curve("lowest", [None if v is None else v.low for v in values], colour, band=True))
        curves.append(Curve("highest", [None if v is None else v.high for v in values], colour, band=True))
    return Chart(name, title, unit, [span.start_s for span in vitals], curves)


def _mega(spread: Spread | None) -> Spread | None:
    return None if spread is None else Spread(spread.low / 1e6, spread.mean / 1e6, spread.high / 1e6)
