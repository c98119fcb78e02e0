"""What one reading of a device's vitals costs: processor time in microseconds. Prints JSON.

    python benchmarks/vitals.py

The files of a Raspberry Pi are stood into a folder; the ioctl to its firmware, one system call, is not in
it. `watch` is the look between two readings, every second.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge.adapters.vitals import VitalsReader
from tests.support.board_files import stand_pi

ROUNDS: Final = 30
CALLS: Final = 20


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        this, pi = VitalsReader(state), VitalsReader(state, stand_pi(state / "root", state))
        result = {
            "this machine, read": _us(this.read),
            "a Pi's files, read": _us(pi.read),
            "a Pi's files, watch": _us(pi.watch),
        }
    print(json.dumps(result, indent=1))


def _us(call: Callable[[], Any]) -> float:
    """Return the median over rounds of processor time for one call."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            call()
        times.append((time.process_time() - start) / CALLS * 1e6)
    return round(statistics.median(times), 1)


if __name__ == "__main__":
    main()
