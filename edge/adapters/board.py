"""What machine this is: /proc, /sys, and on a Raspberry Pi the firmware.

Rules:
- every one of these may be absent, unreadable or nonsense, and is then unknown, never an error;
- nothing is written, and no root is needed;
- all paths are below `root`, so that tests can stand another machine there.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.adapters.cores import allowed_cores, cpu_quota, memory_limit_bytes, usable_cores
from edge.adapters.firmware import read_throttled
from edge.checkup.diagnosis import Board
from wire.board_name import check_serial, no_serial

#: Instructions that kernels of models use, by the names of /proc/cpuinfo.
_TOLD: Final = frozenset(
    (
        *("vfp", "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
        *("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"),
    )
)
_LONGEST_NAME: Final = 80
_CLOCK: Final = "sys/devices/system/cpu/cpu0/cpufreq"
#: ARM's part numbers; a kernel for ARM tells no name (Linux, arch/arm64/include/asm/cputype.h).
_PARTS: Final = {
    "0xb76": "ARM1176", "0xc07": "Cortex-A7", "0xd03": "Cortex-A53", "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE",
}  # fmt: skip


def read_board(root: Path = Path("/"), throttled: Callable[[Path], int | None] = read_throttled) -> Board:
    """Return what can be read of the machine; `root` is where its /proc and /sys are."""
    info = _text(root / "proc/cpuinfo")
    memory = _memory(_text(root / "proc/meminfo"))
    groups, membership = root / "sys/fs/cgroup", root / "proc/self/cgroup"
    return Board(
        model=board_name(root),
        processor=_processor(info),
        system=_system(root),
        machine=platform.machine(),
        python=sys.version_info[:3],
        bits=64 if sys.maxsize > 2**32 else 32,
        features=_features(info),
        cores=os.cpu_count() or 1,
        allowed=allowed_cores(),
        quota=cpu_quota(groups, membership),
        usable=usable_cores(),
        memory_bytes=memory.get("MemTotal"),
        available_bytes=memory.get("MemAvailable"),
        memory_limit_bytes=memory_limit_bytes(groups, membership),
        swap_used_bytes=max(0, memory.get("SwapTotal", 0) - memory.get("SwapFree", 0)) if memory else None,
        governor=_text(root / _CLOCK / "scaling_governor"),
        clock_mhz=_mhz(root / _CLOCK / "scaling_cur_freq"),
        most_mhz=_mhz(root / _CLOCK / "cpuinfo_max_freq"),
        temperature_c=_temperature(root),
        throttled=throttled(root),
        proc_mounted=(root / "proc/cpuinfo").is_file(),
        sys_mounted=(root / "sys/devices/system/cpu").is_dir(),
        load=_load(_text(root / "proc/loadavg")),
    )


def read_serial(root: Path = Path("/")) -> str:
    """Return the board's serial number; raise SettingsError where it tells none."""
    for place in ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number"):
        if told := _text(root / place).strip("\0 "):
            return check_serial(told)
    found = re.search(r"^Serial\s*:\s*(\w+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return check_serial(found[1]) if found else no_serial()


def board_name(root: Path = Path("/")) -> str:
    """Return what the firmware calls the board, in at most 80 characters; empty where it does not tell."""
    for place in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        name = _text(root / place).strip("\0 ")
        if name:
            return name[:_LONGEST_NAME]
    found = re.search(r"^Model\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return found[1].strip()[:_LONGEST_NAME] if found else ""


def _processor(info: str) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    parts = dict.fromkeys(re.findall(r"^CPU part\s*:\s*(0x\w+)$", info, re.MULTILINE))
    named = [_PARTS[part] for part in parts if part in _PARTS]
    return " and ".join(named) or (found[1].strip() if found else "")


def _features(info: str) -> frozenset[str]:
    found = re.search(r"^(?:Features|flags)\s*:\s*(.+)$", info, re.MULTILINE)
    return frozenset(found[1].split()) & _TOLD if found else frozenset()


def _system(root: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text(root / "etc/os-release"), re.MULTILINE)
    return f"{found[1]}, Linux {platform.release()}" if found else f"{platform.system()} {platform.release()}"


def _memory(text: str) -> dict[str, int]:
    """Return the sizes in /proc/meminfo, in bytes."""
    return {name: int(kb) * 1024 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def _mhz(path: Path) -> int | None:
    khz = _text(path)
    return int(khz) // 1000 if khz.isdecimal() else None


def _temperature(root: Path) -> float | None:
    """Return the hottest of the zones that say something credible."""
    degrees = []
    for path in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp")):
        try:
            degrees.append(int(_text(path)) / 1000)
        except ValueError:
            continue
    return max((d for d in degrees if -40 < d < 150), default=None)


def _load(text: str) -> float | None:
    try:
        return float(text.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
