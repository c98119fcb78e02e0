"""What a lying device sends in place of a report, one kind after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from wire.codec import encode
from wire.counters import MAX_CLASSES
from wire.messages import TelemetryReport


def lie(number: int, report: TelemetryReport) -> bytes:
    """Return the payload of lie `number` (they repeat), made from an honest report."""
    return _LIES[number % len(_LIES)](report)


def _patched(old: bytes, new: bytes) -> Callable[[TelemetryReport], bytes]:
    return lambda report: encode(report).replace(old, new, 1)


def _counters(**fields: object) -> Callable[[TelemetryReport], bytes]:
    def make(report: TelemetryReport) -> bytes:
        body = report.body
        models = tuple(replace(c, **fields) for c in body.models)  # type: ignore[arg-type]  # lies
        return encode(replace(report, body=replace(body, models=models)))

    return make


def _clock(time_s: float) -> Callable[[TelemetryReport], bytes]:
    return lambda report: encode(replace(report, head=replace(report.head, time_s=time_s)))


def _renamed(report: TelemetryReport) -> bytes:
    """Name a release that does not exist, another one each time."""
    return _counters(release=f"invented/{report.head.sequence}")(report)


def _inflated(report: TelemetryReport) -> bytes:
    """Count a million million answers in one interval."""
    return _counters(inferences=10**12, total=10**12)(report)


#: The kinds. Those with a wrong clock or the id of another device are taken, with a flag or as one's own.
_LIES: Final[tuple[Callable[[TelemetryReport], bytes], ...]] = (
    _patched(b'"inferences":', b'"inferences":"many","was":'),
    _patched(b'"interval_s":', b'"interval_s":NaN,"was":'),
    _inflated,
    _counters(labelled=2**40, correct=2**40, total=2**40),
    _patched(b'"first":', b'"first":1000000,"was":'),
    _clock(12.0),
    _clock(4_070_908_800.0),
    _patched(b'"head":{', b'"device":"sim-00000","head":{"device":"sim-00000",'),
    _patched(b'"classes":[', b'"classes":[%d,' % MAX_CLASSES),
    _renamed,
)
