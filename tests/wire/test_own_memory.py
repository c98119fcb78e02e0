"""A kernel that does not tell the peak of a process in its status file, as in some containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from wire.adapters.own_memory import STATUS, data_bytes, peak_bytes, resident_bytes


def without(tmp_path: Path, *names: str) -> Path:
    """Return our own status file as a kernel would write it that does not know these."""
    lines = STATUS.read_text().splitlines(keepends=True)
    path = tmp_path / "status"
    path.write_text("".join(line for line in lines if line.split(":")[0] not in names))
    return path


def test_what_the_kernel_tells_is_taken() -> None:
    assert data_bytes() > 0
    assert 1_000_000 < resident_bytes() <= peak_bytes()


@pytest.mark.parametrize("names", [("VmHWM",), ("VmHWM", "VmRSS", "VmData")])
def test_a_peak_that_is_not_told_is_measured_another_way(tmp_path: Path, names: tuple[str, ...]) -> None:
    status = without(tmp_path, *names)
    assert peak_bytes(status) >= resident_bytes(status) > 1_000_000


def test_without_a_status_file_there_is_still_a_peak(tmp_path: Path) -> None:
    assert peak_bytes(tmp_path / "none") > 1_000_000
