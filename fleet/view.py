"""What a person sees of a device: a row for each of its models, computed from what the store holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from fleet.health import DEFAULT_INTERVAL_S, presence
from fleet.ingest import ReleaseTotal
from fleet.statistics import wilson
from wire.histogram import quantile
from wire.messages import ModelState, Reported, Telemetry
from wire.software import SOFTWARE


@dataclass(frozen=True)
class DeviceRow:
    """One model on one device, now. None is "not known yet"; times in microseconds are of the last report."""

    device: str
    presence: str
    model: str | None = None
    state: str | None = None
    current: str | None = None
    target: str | None = None
    error: str | None = None
    done_chunks: int = 0
    total_chunks: int = 0
    fetched_chunks: int = 0
    inferences: int = 0
    errors: int = 0
    dropped: int = 0
    rate_hz: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    labelled: int = 0
    cpu_percent: float | None = None
    process_cpu_percent: float | None = None
    rss_bytes: int | None = None
    temperature_c: float | None = None
    clock: str | None = None
    timestamp_version: int | None = None
    stale_metadata: bool = False


@dataclass(frozen=True)
class DeviceFacts:
    """What the store holds of one device. `totals` is by release."""

    device: str
    online: bool
    silent_for_s: float
    reported: Reported | None
    telemetry: Telemetry | None
    totals: dict[str, ReleaseTotal]
    stale_metadata: bool = False


def rows(facts: DeviceFacts) -> list[DeviceRow]:
    """Return a row for each model of a device, or one without a model. Accuracy is of what serves now.

    What a release did stands in the row of its model, and in the first what is of no model that is
    reported: each is there once. Resources and what was dropped are the device's, the same in all rows.
    The agent's own software has a row once a release of it was pushed.
    """
    models = tuple(model for model in (facts.reported.models if facts.reported else ()) if _is_news(model))
    first, further = models[0] if models else None, models[1:]
    theirs = frozenset(model.model for model in further)
    others = [_row(facts, model, partial(_is_of, frozenset({model.model}))) for model in further]
    return [_row(facts, first, lambda release: not _is_of(theirs, release)), *others]


def one_each(found: Iterable[DeviceRow], model: str) -> list[DeviceRow]:
    """Return one row for each device: that of `model`, or its first where it reports no such model."""
    chosen: dict[str, DeviceRow] = {}
    for row in found:
        if row.device not in chosen or row.model == model:
            chosen[row.device] = row
    return list(chosen.values())


def _is_news(model: ModelState) -> bool:
    return model.model != SOFTWARE or any((model.current, model.target, model.error))


def _is_of(models: frozenset[str], release: str) -> bool:
    return release.rpartition("/")[0] in models


def _row(facts: DeviceFacts, model: ModelState | None, is_mine: Callable[[str], bool]) -> DeviceRow:
    telemetry = facts.telemetry
    interval_s = telemetry.interval_s if telemetry else DEFAULT_INTERVAL_S
    current = model.current if model else None
    total = facts.totals.get(current or "", ReleaseTotal())
    interval = wilson(total.correct, total.labelled)
    totals = [counted for release, counted in facts.totals.items() if is_mine(release)]
    counters = [c for c in telemetry.models if is_mine(c.release)] if telemetry else []
    latest = next((c for c in counters if c.release == current), None)
    vitals = telemetry.vitals if telemetry else None
    return DeviceRow(
        device=facts.device,
        presence=presence(online=facts.online, silent_for_s=facts.silent_for_s, interval_s=interval_s),
        model=model.model if model else None,
        state=model.state if model else None,
        current=current,
        target=model.target if model else None,
        error=model.error if model else None,
        done_chunks=model.done_chunks if model else 0,
        total_chunks=model.total_chunks if model else 0,
        fetched_chunks=model.fetched_chunks if model else 0,
        inferences=sum(t.inferences for t in totals),
        errors=sum(t.errors for t in totals),
        dropped=telemetry.loss.results_dropped + telemetry.loss.outbox_dropped if telemetry else 0,
        rate_hz=sum(c.inferences for c in counters) / interval_s if telemetry else None,
        p50_us=quantile(latest.latency_us, 0.5) if latest else None,
        p99_us=quantile(latest.latency_us, 0.99) if latest else None,
        accuracy=total.correct / total.labelled if total.labelled else None,
        accuracy_low=interval[0] if interval else None,
        accuracy_high=interval[1] if interval else None,
        labelled=total.labelled,
        cpu_percent=vitals.cpu_percent if vitals else None,
        process_cpu_percent=vitals.process_cpu_percent if vitals else None,
        rss_bytes=vitals.rss_bytes if vitals else None,
        temperature_c=vitals.temperature_c if vitals else None,
        clock=facts.reported.clock if facts.reported else None,
        timestamp_version=facts.reported.timestamp_version if facts.reported else None,
        stale_metadata=facts.stale_metadata,
    )
