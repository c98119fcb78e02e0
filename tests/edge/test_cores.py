"""How many cores this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.adapters import cores
from edge.adapters.cores import allowed_cores, cpu_quota, memory_limit_bytes, shared_out, usable_cores

GIB = 2**30


def make(root: Path, membership: str, **files: str) -> tuple[Path, Path]:
    """Write control groups below `root`; a key's `__` stands for `/` and its `_dot_` for a dot."""
    groups, proc = root / "groups", root / "membership"
    proc.write_text(membership)
    for key, text in files.items():
        path = groups / key.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return groups, proc


def test_the_least_quota_of_a_group_and_its_parents_counts(tmp_path: Path) -> None:
    groups = make(
        tmp_path,
        "0::/system/agent\n",
        system__agent__cpu_dot_max="max 100000",
        system__cpu_dot_max="150000 100000",
        system__agent__memory_dot_max=str(GIB),
        system__memory_dot_max="max",
    )
    assert (cpu_quota(*groups), memory_limit_bytes(*groups)) == (1.5, GIB)


def test_where_a_group_is_held_up_there_is_no_room(tmp_path: Path) -> None:
    files = {"unit__memory_dot_high": str(GIB // 2), "unit__memory_dot_max": str(GIB)}
    assert memory_limit_bytes(*make(tmp_path, "0::/unit\n", **files)) == GIB // 2


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    groups = make(
        tmp_path,
        "4:memory:/docker/a\n2:cpu,cpuacct:/docker/a\n1:name=systemd:/x\n",
        cpu__docker__a__cpu_dot_cfs_quota_us="50000",
        cpu__docker__a__cpu_dot_cfs_period_us="100000",
        cpu__cpu_dot_cfs_quota_us="-1",
        memory__docker__a__memory_dot_limit_in_bytes=str(GIB),
        memory__memory_dot_limit_in_bytes="9223372036854771712",
    )
    assert (cpu_quota(*groups), memory_limit_bytes(*groups)) == (0.5, GIB)


def test_in_a_container_the_root_is_the_group(tmp_path: Path) -> None:
    groups = make(tmp_path, "0::/host/path/that/is/elsewhere\n", cpu_dot_max="200000 100000")
    assert cpu_quota(*groups) == 2.0


@pytest.mark.parametrize("text", ["", "max", "nonsense", "0 0", "1 2 3 4"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, text: str) -> None:
    groups = make(tmp_path, "nonsense\n0:\n:::::\n", cpu_dot_max=text, memory_dot_max=text)
    assert (cpu_quota(*groups), memory_limit_bytes(*groups)) == (None, None)
    assert cpu_quota(tmp_path / "none", tmp_path / "none") is None


def test_threads_and_interpreters_fit_the_cores_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    wished = [(1, 1), (1, 0), (0, 0), (2, 2), (2, 3), (3, 2), (9, 9)]
    assert [shared_out(*one) for one in wished] == [(1, 1), (1, 4), (4, 1), (2, 2), (2, 2), (3, 1), (4, 1)]


def test_usable_are_the_allowed_ones_within_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= usable_cores() <= allowed_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(cores, "allowed_cores", lambda: 4)
    for quota, usable in ((None, 4), (0.5, 1), (1.5, 1), (2.0, 2), (8.0, 4)):
        monkeypatch.setattr(cores, "cpu_quota", lambda quota=quota: quota)
        assert usable_cores() == usable
