"""What a machine can do and what slows it, from what was read of it. Pure.

Rules:
- a finding says what is wrong and what to do, one line each; it `stops` inference, is `slow`, or is a
  `note` that explains a figure;
- what could not be read is no finding: most machines lack a sensor or two;
- an interpreter counts as working when it computed the right numbers, not when it could be imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from edge.checkup.diagnosis import LITERT, RUNTIME, Board, Diagnosis, Finding, Level, Probe, size_text

#: Earlier ones crash on one damaged file in five.
_LITERT_FROM: Final = (2, 1, 6)
_LITERT_PIP: Final = f"pip install '{LITERT}>=2.1.6,<3'"
#: The last Python with a wheel of tflite-runtime.
_RUNTIME_PYTHON: Final = (3, 11)
_HOT_C: Final = 80.0
_SCARCE_BYTES: Final = 100 * 1024**2

#: Bits of the firmware's throttling register (Raspberry Pi documentation, vcgencmd get_throttled).
_THROTTLED: Final[Mapping[int, str]] = {
    0: "the supply voltage is too low",
    1: "the processor's clock is capped",
    2: "the processor is throttled",
    3: "the soft temperature limit is reached",
}
_SINCE_BOOT: Final = 16


def diagnose(board: Board, probes: tuple[Probe, ...], packages: Mapping[str, str]) -> Diagnosis:
    """Return everything that is to be told, the gravest findings first."""
    found = [*_of_interpreters(board, probes, packages), *_of_kernels(board, probes), *_of_processor(board)]
    found += [*_of_clock(board), *_of_memory(board)]
    order = ("stops", "slow", "note")
    found.sort(key=lambda finding: order.index(finding.level))
    return Diagnosis(board, probes, dict(packages), tuple(found))


def suited_backend(board: Board) -> str:
    """Return the package to install on this machine, "" when there is none for it."""
    if board.bits == 64:
        return LITERT
    return RUNTIME if board.python[:2] <= _RUNTIME_PYTHON else ""


def _of_interpreters(
    board: Board, probes: tuple[Probe, ...], packages: Mapping[str, str]
) -> Iterator[Finding]:
    works = [probe for probe in probes if not probe.error]
    suited = suited_backend(board)
    if not probes:
        yield Finding("stops", "no TFLite interpreter is installed", _install(suited, board))
    for probe in probes:
        if probe.error:
            advice = _cure(probe, packages, suited, board)
            yield Finding(
                "note" if works else "stops", f"{probe.backend} {probe.version}: {probe.error}", advice
            )
    for probe in works:
        if probe.backend == LITERT and _numbers(probe.version) < _LITERT_FROM:
            yield Finding(
                "note",
                f"{LITERT} {probe.version} crashes on damaged model files",
                _LITERT_PIP,
            )
    if works and suited == LITERT and all(probe.backend == RUNTIME for probe in works):
        yield Finding("slow", f"{RUNTIME} is the older interpreter", _LITERT_PIP)


def _install(suited: str, board: Board) -> str:
    if suited == LITERT:
        return "pip install 'edgeflock[edge]'"
    if suited == RUNTIME:
        return f"pip install '{RUNTIME}==2.14.0' 'numpy<2'"
    version = ".".join(map(str, board.python[:2]))
    return (
        f"none exists for a 32-bit Python {version}: use a 64-bit system, or Bookworm, which has Python 3.11"
    )


def _cure(probe: Probe, packages: Mapping[str, str], suited: str, board: Board) -> str:
    if "pip install" in probe.error:  # it says so itself
        return ""
    if probe.backend == RUNTIME and _numbers(packages.get("numpy", "")) >= (2,):
        return f"it was built for numpy 1, and numpy {packages['numpy']} is installed: pip install 'numpy<2'"
    if "SIGILL" in probe.error:
        return "it was built for a newer processor than this one"
    if "SIGSEGV" in probe.error and not board.sys_mounted:
        return "it asks /sys about the processor, which is not mounted here: mount it"
    return _install(suited, board)


def _of_kernels(board: Board, probes: tuple[Probe, ...]) -> Iterator[Finding]:
    for probe in probes:
        if probe.error:
            continue
        if "float" not in probe.delegated:
            what = f"{probe.backend} runs without XNNPACK: 3 to 7 times slower"
            yield Finding("slow", what, _kernels_advice(board))
        elif "int8" not in probe.delegated:
            others = [one for one in probes if "int8" in one.delegated]
            yield Finding(
                "note" if others else "slow",
                f"{probe.backend} runs int8 models without XNNPACK: slower than float ones",
                f'backend = "{others[0].backend}"' if others else _int8_advice(board),
            )
    if not board.sys_mounted:
        yield Finding("note", "/sys is not mounted: clock and heat are unknown")
    if not board.proc_mounted:
        yield Finding("note", "/proc is not mounted: processor, memory and load are unknown")


def _kernels_advice(board: Board) -> str:
    """Say why the fast kernels may be off: they ask /proc and /sys what the processor can."""
    hidden = [
        place for place, there in (("/proc", board.proc_mounted), ("/sys", board.sys_mounted)) if not there
    ]
    return (
        f"mount {' and '.join(hidden)}: it reads there what the processor can"
        if hidden
        else "install it anew"
    )


def _int8_advice(board: Board) -> str:
    if board.bits == 64:
        return _LITERT_PIP
    return "convert with --recipe float16 or weight-int8 as well, and measure both"


def _of_processor(board: Board) -> Iterator[Finding]:
    if board.bits == 32 and board.machine in ("aarch64", "arm64", "x86_64"):
        yield Finding(
            "slow",
            f"a 32-bit Python runs on a 64-bit kernel ({board.machine})",
            "a 64-bit system is faster, and gets the interpreter that is still maintained",
        )
    if board.quota is not None and board.quota < board.allowed:
        level: Level = "slow" if board.quota < 1 else "note"
        advice = "give the container at least one whole core" if board.quota < 1 else ""
        yield Finding(level, f"a quota allows {board.quota:g} of {board.allowed} cores", advice)
    if board.allowed < board.cores:
        yield Finding("note", f"this process may run on {board.allowed} of {board.cores} cores")
    if board.usable == 1:
        yield Finding("note", "one core is usable: everything else on this machine delays a model")
    if board.load is not None and board.load > board.cores:
        yield Finding(
            "slow",
            f"others use the processor: {board.load:.1f} processes want {board.cores} cores",
            "look at them with top; measured times are too long meanwhile",
        )
    if board.machine.startswith("arm") and board.features and not board.features & {"neon", "asimd"}:
        yield Finding("stops", "the processor has no NEON", "a Pi 2 or later has it")


def _of_clock(board: Board) -> Iterator[Finding]:
    if board.governor in ("powersave", "conservative"):
        yield Finding("slow", f"the governor {board.governor} keeps the clock low", _governor_advice())
    elif board.governor in ("ondemand", "schedutil"):
        yield Finding(
            "note",
            f"the governor {board.governor} lowers the clock between calls: the first ones are slower",
            _governor_advice(),
        )
    register = board.throttled or 0
    for bit, what in _THROTTLED.items():
        if register >> bit & 1:
            yield Finding("slow", what, _power_or_heat(bit))
        elif register >> (bit + _SINCE_BOOT) & 1:
            yield Finding("note", f"since it started: {what}", _power_or_heat(bit))
    if board.temperature_c is not None and board.temperature_c >= _HOT_C:
        yield Finding(
            "slow", f"the processor has {board.temperature_c:.0f} °C", "cool it: it slows down by itself"
        )


def _governor_advice() -> str:
    return "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


def _power_or_heat(bit: int) -> str:
    return (
        "use the supply made for the board, and a short cable" if bit == 0 else "cool it, or check its supply"
    )


def _of_memory(board: Board) -> Iterator[Finding]:
    if board.available_bytes is not None and board.available_bytes < _SCARCE_BYTES:
        yield Finding(
            "slow",
            f"{size_text(board.available_bytes)} of memory are left",
            "a model and its interpreter take 40 to 150 MB: end something, or take a smaller model",
        )
    if board.memory_limit_bytes is not None and board.memory_limit_bytes < 2 * _SCARCE_BYTES:
        yield Finding("slow", f"a control group allows {size_text(board.memory_limit_bytes)} of memory")
    used, memory = board.swap_used_bytes or 0, board.memory_bytes or 0
    if memory and used > memory // 10:
        yield Finding(
            "slow", f"{size_text(used)} are swapped out", "what is swapped out answers late: free memory"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 1, 6) of "2.1.6rc1"."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
