"""A conversion that is killed, or whose disk is full, leaves nothing that looks finished."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import Counts
from tests.support.local_fleet import ROOT, edgeflock
from tests.support.training import Trained
from wire.deadline import Deadline, wait_until


def command(trained: Trained, out: Path) -> list[str]:
    source = ["convert", str(trained.v2), "--data", str(trained.data), "--name", "digits"]
    return edgeflock(*source, "--out", out, "--json", out.with_suffix(".json"))


def test_sigkill_at_any_moment_leaves_no_bundle_and_no_process(
    trained: Trained, tmp_path: Path, counts: Counts
) -> None:
    out = tmp_path / "x.bundle"
    for kill in range(counts.kills):
        with subprocess.Popen(command(trained, out), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            parent = psutil.Process(process.pid)
            moment = Deadline.after(0.5 + 3.0 * kill % 9)
            wait_until(lambda: moment.passed or process.poll() is not None, Deadline.after(30))  # noqa: B023
            ended = process.poll() is not None  # a quick machine was there first
            children = [] if ended else parent.children(recursive=True)
            process.kill()
        assert wait_until(lambda: not any(c.is_running() for c in children), Deadline.after(10))  # noqa: B023
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == (["x.bundle", "x.json"] if ended else [])
        for name in left:
            (tmp_path / name).unlink()


def test_a_full_disk_is_one_line_and_leaves_no_file(trained: Trained, tmp_path: Path) -> None:
    limited = [
        sys.executable,
        "-c",
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "os.execv(sys.argv[1], sys.argv[1:])",
    ]
    done = subprocess.run(
        [*limited, *command(trained, tmp_path / "x.bundle")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "temporary files in" in done.stderr
    assert list(tmp_path.iterdir()) == []
