"""The tour itself, as a stranger runs it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.local_fleet import ROOT, edgeflock, run
from wire.deadline import Deadline, wait_until


def children_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that name `folder` on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def test_the_demo_swaps_both_versions_loses_nothing_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "a demo"
    done = run("demo", "--folder", folder, "--broker", "embedded", timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo succeeded" in done.stdout
    assert "0 failed or dropped" in done.stdout
    assert children_in(folder) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path, how: signal.Signals) -> None:
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        edgeflock("demo", "--folder", folder, "--keep"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        running = wait_until(
            lambda: demo.poll() is not None or len(list(folder.glob("pi-*/pointer.json"))) == 3,
            Deadline.after(120),
        )
        assert running
        assert demo.poll() is None, demo.stderr and demo.stderr.read()
        demo.send_signal(how)
        assert demo.wait(60) in (130, 0)
        assert wait_until(lambda: not children_in(folder), Deadline.after(5))
    finally:
        demo.kill()
        demo.wait()
        if demo.stderr:
            demo.stderr.close()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = run("demo", "--folder", tmp_path)
    assert done.returncode == 2
    assert "holds something that is not a demo" in done.stderr
    assert (tmp_path / "precious").exists()
