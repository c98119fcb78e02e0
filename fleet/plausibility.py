"""Can a device be right in what it says? What cannot be is refused, or kept out of the sums, and counted.

A device may lie: by a bug, a broken sensor, or on purpose. It can spoil its own figures, never another's:
its name comes from the topic, which the broker keeps to its certificate. What is here keeps one device from
drowning the others in the fleet's sums, and from growing them without end. Limits are generous: what an
honest device could say under any circumstances passes.

Rules:
- a report whose counts contradict each other, or that are impossible, is refused as a whole;
- so is a word of more models than a device could run, or of names that are none: each is looked up for the
  page, for alerts, and in their topics;
- counts of classes that the release does not have, and more releases than a device could run, stay out of
  the sums: the report itself is kept, and the device flagged (`classes`, `releases`);
- so do vitals that no board has (`vitals`).
"""

from __future__ import annotations

from typing import Final

from wire.counters import MAX_COUNT, MAX_EARLIER, ModelCounters
from wire.errors import MessageError
from wire.histogram import BUCKETS
from wire.messages import Reported, Samples, Telemetry, Vitals

#: The smallest model on the fastest board answers in more than a microsecond.
MAX_RATE_HZ: Final = 1_000_000
#: A batch is counted at its end, which may come right behind the report before.
_AT_ONCE_S: Final = 10.0
#: Any device reports daily; one that was asleep for longer has not counted meanwhile.
MAX_INTERVAL_S: Final = 7 * 86_400.0

_MAX_NAME: Final = 140  # model, `/` and version, and more
_MAX_MODELS: Final = 64
_MAX_CLASS: Final = 2**31
_BYTES: Final = (0, 2**60)
_RANGES: Final = {
    "cpu_percent": (0, 110), "process_cpu_percent": (0, 100_000), "rss_bytes": _BYTES,
    "memory_available_bytes": _BYTES, "disk_free_bytes": _BYTES, "temperature_c": (-60, 200),
    "swap_used_bytes": _BYTES, "network_sent_bytes": _BYTES, "network_received_bytes": _BYTES,
    "disk_written_bytes": _BYTES, "filesystem_errors": _BYTES, "throttled": _BYTES,
    "undervoltages": _BYTES, "throttled_s": (0, MAX_INTERVAL_S), "clock_mhz": (0, 100_000),
    "uptime_s": (0, 10**10),
}  # fmt: skip


def check_telemetry(telemetry: Telemetry) -> None:
    """Raise MessageError for a report that cannot be, before it reaches a sum."""
    if not 0 < telemetry.interval_s <= MAX_INTERVAL_S:
        raise MessageError("Telemetry", f"interval of {telemetry.interval_s} s")
    if len(telemetry.models) > _MAX_MODELS:
        raise MessageError("Telemetry", f"{len(telemetry.models)} models")
    most = int((telemetry.interval_s + _AT_ONCE_S) * MAX_RATE_HZ)
    for counters in telemetry.models:
        _check_name(counters.release)
        if not _agree(counters):
            raise MessageError("Telemetry", f"counters of {counters.release} contradict each other")
        if max(counters.inferences, counters.errors) > most:
            raise MessageError("Telemetry", f"{counters.inferences} inferences in {telemetry.interval_s} s")
        for name in (*(f.name for f in counters.features), *(s.tag for s in counters.slices)):
            _check_name(name)


def check_reported(reported: Reported) -> None:
    """Raise MessageError for a state that no device can be in."""
    if len(reported.models) > _MAX_MODELS:
        raise MessageError("Reported", f"{len(reported.models)} models")
    for model in reported.models:
        _check_name(model.model, "Reported")
        for release in (model.current, model.previous, model.target):
            if release is not None:
                _check_name(release, "Reported")


def _agree(counters: ModelCounters) -> bool:
    """Return whether counts fit each other and the device's total since boot.

    Truth may come later than the answer, and what has no room in a report comes with a later one: only the
    total bounds them all. And truth may be that of an answer before a restart.
    """
    total, latency = counters.total, counters.latency_us
    judged = total + MAX_EARLIER
    return (
        0 <= counters.correct <= counters.labelled <= judged
        and total <= MAX_COUNT
        and 0 <= counters.inferences <= total
        and 0 <= counters.errors <= MAX_COUNT
        and 0 <= latency.first <= BUCKETS - len(latency.counts)
        and min(latency.counts, default=0) >= 0
        and sum(latency.counts) == counters.inferences
        and sum(counters.confusion.counts) <= judged
        and sum(counters.predicted.counts) <= total
        and sum(counters.confidence) <= total
        and sum(counters.reliability.labelled) <= judged
        and all(sum(f.counts) <= total for f in counters.features)
        and all(s.inferences <= total and s.labelled <= judged for s in counters.slices)
        and all(v.answers.count <= total and v.errors.count <= judged for v in counters.values)
        and counters.golden_failed <= counters.golden_runs
    )


def check_samples(samples: Samples) -> None:
    """Raise MessageError for samples that cannot be."""
    _check_name(samples.release)
    if not 0 <= samples.rate <= 1:
        raise MessageError("Samples", f"a rate of {samples.rate}")
    classes = [*samples.predicted, *(t for t in samples.truth if t is not None)]
    if any(abs(number) > _MAX_CLASS for number in classes):
        raise MessageError("Samples", "a class that no model has")


def beyond(counters: ModelCounters, classes: int) -> bool:
    """Return whether anything is counted for a class that a model of `classes` classes does not have."""
    return any(
        max(column, default=-1) >= classes
        for column in (counters.confusion.truth, counters.confusion.predicted, counters.predicted.classes)
    )


def are_possible(vitals: Vitals) -> bool:
    """Return whether a board can be so."""
    for name, (low, high) in _RANGES.items():
        value = getattr(vitals, name)
        if value is not None and not low <= value <= high:
            return False
    return True


def _check_name(name: str, kind: str = "Telemetry") -> None:
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise MessageError(kind, f"a name of {len(name)} characters: {name[:40]!r}")
