"""`python -m tests.support.device_process FOLDER PORT`: one device in a process of its own.

Prints its memory (MiB: now, most since then) once when it has started and once when it trusts a release.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.live_fleet import LiveDevice
from wire.adapters.paho_link import BrokerAddress
from wire.deadline import Deadline, wait_until


def memory_mib(pid: int | str = "self") -> tuple[float, float]:
    """Return (resident now, most that was resident) of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def forget_most(pid: int | str = "self") -> None:
    """Let "most" begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def main(folder: Path, port: int) -> None:
    device = LiveDevice(folder, "pi-1", BrokerAddress("127.0.0.1", port))
    try:
        wait_until(device.link._client.is_connected, Deadline.after(30))
        forget_most()
        print(*memory_mib(), flush=True)

        def settled() -> bool:
            device.answer()
            return device.updater.report().current is not None and device.updater.report().state == "idle"

        wait_until(settled, Deadline.after(280), every_s=0.1)
        print(*memory_mib(), device.updater.report().error, flush=True)
    finally:
        device.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
