"""What is told of a machine: what was read of it, what its interpreters did, and findings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Level = Literal["stops", "slow", "note"]

LITERT: Final = "ai-edge-litert"
RUNTIME: Final = "tflite-runtime"
#: What a device may have installed besides an interpreter, and what for.
PACKAGES: Final[Mapping[str, str]] = {
    "numpy": "everything",
    "psutil": "telemetry",
    "paho-mqtt": "the fleet",
    "pillow": "images",
    "opencv": "cameras",
    "pyarrow": "Parquet",
    "uvicorn": "serving",
}


@dataclass(frozen=True)
class Board:
    """What was read of the machine; None and "" where it could not be.

    `bits` are those of Python, `machine` is what the kernel says. `quota` is in cores, `throttled` the
    firmware's register, `load` the processes that want to run, over the last minute.
    """

    model: str = ""
    processor: str = ""
    system: str = ""
    machine: str = ""
    python: tuple[int, int, int] = (3, 11, 0)
    bits: int = 64
    features: frozenset[str] = frozenset()
    cores: int = 1
    allowed: int = 1
    quota: float | None = None
    usable: int = 1
    memory_bytes: int | None = None
    available_bytes: int | None = None
    memory_limit_bytes: int | None = None
    swap_used_bytes: int | None = None
    governor: str = ""
    clock_mhz: int | None = None
    most_mhz: int | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    sys_mounted: bool = True
    proc_mounted: bool = True
    load: float | None = None


@dataclass(frozen=True)
class Probe:
    """What one interpreter did with the probe models. `error` is empty when it computed both rightly.

    `delegated` says which of the kinds of model were handed to XNNPACK; `load_ms` is the time to load one.
    """

    backend: str
    version: str
    error: str = ""
    delegated: frozenset[str] = frozenset()
    load_ms: float = 0.0


@dataclass(frozen=True)
class Finding:
    """One line about what is wrong, and one about what to do."""

    level: Level
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that is told: the machine, its interpreters, packages by name ("": missing), findings."""

    board: Board
    probes: tuple[Probe, ...]
    packages: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def can_infer(self) -> bool:
        return not any(finding.level == "stops" for finding in self.findings)

    @property
    def rating(self) -> str:
        if not self.can_infer:
            return "this machine cannot run a model yet"
        slow = sum(finding.level == "slow" for finding in self.findings)
        return f"ready, but {slow} {'thing slows' if slow == 1 else 'things slow'} it" if slow else "ready"


def as_lines(told: Diagnosis) -> list[tuple[str, str]]:
    """Return what is told of the machine as pairs of a name and a text; what is unknown is left out."""
    board = told.board
    bits = f"Python {'.'.join(map(str, board.python))} ({board.bits} bit)"
    cores = f"{board.usable} usable of {board.cores}"
    clock = f"{board.clock_mhz} of {board.most_mhz} MHz" if board.clock_mhz and board.most_mhz else ""
    memory = [
        f"{size_text(board.memory_bytes)}" if board.memory_bytes else "",
        f"{size_text(board.available_bytes)} free" if board.available_bytes is not None else "",
        f"{size_text(board.swap_used_bytes)} swapped out" if board.swap_used_bytes else "",
    ]
    heat = f"{board.temperature_c:.0f} °C" if board.temperature_c is not None else ""
    held = [f"{name} {version}" for name, version in told.packages.items() if version]
    absent = [f"{name} (for {PACKAGES[name]})" for name, version in told.packages.items() if not version]
    pairs = [
        ("board", board.model),
        ("system", _joined(board.system, board.machine, bits)),
        ("processor", _joined(board.processor, cores)),
        ("instructions", " ".join(sorted(board.features))),
        ("clock", _joined(clock, board.governor, heat)),
        ("memory", _joined(*memory)),
        *(("interpreter", _probe_line(probe)) for probe in told.probes),
        ("packages", _joined(*held)),
        ("not installed", _joined(*absent)),
    ]
    return [(name, text) for name, text in pairs if text]


def _probe_line(probe: Probe) -> str:
    name = f"{probe.backend} {probe.version}"
    if probe.error:
        return f"{name}: does not work"
    kinds = " and ".join(sorted(probe.delegated)) or "nothing"
    return f"{name}: computes rightly, XNNPACK runs {kinds}, loads in {probe.load_ms:.1f} ms"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def size_text(size_bytes: int) -> str:
    if size_bytes >= 1024**3:
        return f"{size_bytes / 1024**3:.1f} GiB"
    return f"{size_bytes / 1024**2:.0f} MiB"
