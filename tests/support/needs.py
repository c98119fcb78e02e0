"""What some tests need of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

_STATUS: Final = Path("/proc/self/status")

#: Of another process only its status file tells the peak.
needs_peaks = pytest.mark.skipif(
    "VmHWM:" not in _STATUS.read_text(errors="replace"),
    reason="this kernel tells no process's peak of memory",
)
