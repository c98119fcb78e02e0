"""Trials in real child processes, to their verdicts."""

from __future__ import annotations

from pathlib import Path

from edge.adapters.child_trial import ChildTrial
from edge.golden import Verdict
from wire.deadline import Deadline, wait_until
from wire.manifest import Manifest

_PATIENCE_S = 60.0


def verdict_of(
    bundle: Path,
    backend: str = "auto",
    *,
    memory_bytes: int = 256 * 1024**2,
    processor_s: int = 20,
    wall_s: float = 50.0,
    serving: Path | None = None,
    p99_us: float | None = None,
    signed: Manifest | None = None,
) -> Verdict:
    """Try the bundle and return what was found."""
    trial = ChildTrial(
        backend, 1, memory_bytes=memory_bytes, processor_s=processor_s, wall_s=wall_s, p99_us=p99_us
    )
    found: list[Verdict] = []
    trial.start(bundle, serving=serving, signed=signed)

    def answered() -> bool:
        if (verdict := trial.poll()) is not None:
            found.append(verdict)
        return bool(found)

    assert wait_until(answered, Deadline.after(_PATIENCE_S))
    return found[0]
