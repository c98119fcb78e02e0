"""What a push shows while it packs: a bar on a terminal, and nothing in a log."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from tests.support.local_fleet import ROOT, edgeflock, run
from tests.support.tiny_bundle import write_tiny_bundle


@pytest.fixture
def push(tmp_path: Path) -> list[str | Path]:
    """The arguments of a push into a fleet without keys."""
    Database(tmp_path / "fleet").open().close()
    return ["fleet", "push", write_tiny_bundle(tmp_path / "tiny.bundle"), "--state", tmp_path / "fleet"]


def test_on_a_terminal_a_push_shows_its_steps(push: list[str | Path]) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        edgeflock(*push),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        shown = _read_all(ours)
        assert process.stdout is not None
        said = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0
    assert "packing tiny/1" in shown
    assert "100%" in shown
    assert said.startswith("tiny/1 -> all (0 devices so far)")
    assert said.count("\n") == 1


def _read_all(terminal: int) -> str:
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux says so when the last who had the other end is gone
            return shown.decode()
        if not piece:
            return shown.decode()
        shown += piece


def test_in_a_log_a_push_says_what_it_did_and_no_more(push: list[str | Path]) -> None:
    done = run(*push)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_a_file_that_is_no_bundle_ends_in_one_line(push: list[str | Path], tmp_path: Path) -> None:
    for name, says in (("none.bundle", "No such file"), ("fleet/fleet.db", "not")):
        push[2] = tmp_path / name
        done = run(*push)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert says in done.stderr
