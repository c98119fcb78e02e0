"""Messages as they look in life, for tests of pure functions."""

from __future__ import annotations

from dataclasses import replace

from wire.counters import Buckets, ModelCounters
from wire.manifest import Golden, Manifest, TensorSpec
from wire.messages import (
    Blob,
    Head,
    Loss,
    Release,
    Telemetry,
    TelemetryReport,
    Vitals,
)

MANIFEST = Manifest(
    model="digits",
    version="1",
    recipe="int8",
    tflite_sha256="a" * 64,
    tflite_bytes=46_000,
    inputs=(TensorSpec("x", "float32", (1, 8, 8, 1)),),
    outputs=(TensorSpec("y", "float32", (1, 10)),),
    golden=Golden(24, 0.05),
    labels=10,
)
RELEASE_1 = Release("digits/1", "1" * 64, 50_000, (Blob("b" * 64, 40_000, "c" * 64),), MANIFEST)
RELEASE_2 = Release(
    "digits/2", "2" * 64, 50_000, (Blob("d" * 64, 40_000, "e" * 64),), replace(MANIFEST, version="2")
)

VITALS = Vitals(12.5, 6.0, 66_000_000, 400_000_000, 9_000_000_000, None)


def counters(release: str = "digits/1", inferences: int = 10, *, total: int = 10) -> ModelCounters:
    """Counters of a report in which every answer took about 150 us and nine of ten were right."""
    return ModelCounters(
        release=release,
        inferences=inferences,
        errors=0,
        latency_us=Buckets(251, (inferences,)),
        labelled=inferences,
        correct=inferences * 9 // 10,
        total=total,
    )


def telemetry(*models: ModelCounters, final: bool = False, loss: Loss | None = None) -> Telemetry:
    return Telemetry(1.0, models or (counters(),), VITALS, loss or Loss(), final)


def report(sequence: int, body: Telemetry, *, boot: str = "b1", first: int = 1) -> TelemetryReport:
    return TelemetryReport(Head(boot, sequence, first, 1_700_000_000.0), body)
