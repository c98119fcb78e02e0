"""Models that are well formed and do harm: each is stopped in its trial, and the reason names the cause."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.adapters.tflite import installed_backends
from edge.golden import Verdict
from tests.support import bad_models
from tests.support.local_fleet import ROOT
from tests.support.trials import verdict_of
from wire.codec import decode
from wire.deadline import Deadline, wait_until

LIMIT = 64 * 1024**2


@pytest.fixture(params=installed_backends())
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refused(folder: Path, bundle: bytes, backend: str, **bounds: float) -> str:
    path = folder / "bad.bundle"
    path.write_bytes(bundle)
    verdict = verdict_of(path, backend, **bounds)  # type: ignore[arg-type]  # the bounds of its signature
    assert not verdict.passed
    assert verdict.conclusive
    return verdict.reason


def test_an_answer_that_is_no_number(tmp_path: Path, backend: str) -> None:
    assert refused(tmp_path, bad_models.logarithm(), backend) == "output is not finite"


def test_a_loop_without_end(tmp_path: Path, backend: str) -> None:
    reason = refused(tmp_path, bad_models.endless(), backend, processor_s=1)
    assert reason == "used more than 1 s of processor time while it was loaded"


@pytest.mark.parametrize("side", [9_000, 30_000, 300_000])
def test_a_tensor_that_does_not_fit(tmp_path: Path, backend: str, side: int) -> None:
    """Of 324 MB, 3.6 GB and 360 GB: the last two are not to be had, and interpreters tell in three ways."""
    reason = refused(tmp_path, bad_models.huge(side), backend, memory_bytes=LIMIT)
    assert reason == "needs more than 64 MiB of memory while it was loaded"


def test_a_loop_that_allocates_without_end(tmp_path: Path, backend: str) -> None:
    """It needs 2 GB after 27 turns."""
    reason = refused(tmp_path, bad_models.growing(), backend, memory_bytes=LIMIT)
    assert reason == "needs more than 64 MiB of memory while it was loaded"


def test_a_tensor_whose_file_says_that_it_does_not_fit(tmp_path: Path, backend: str) -> None:
    reason = refused(tmp_path, bad_models.wide(), backend, memory_bytes=LIMIT)
    assert reason == "needs more than 64 MiB of memory: its tensor 'wide' alone has 400 MiB"


def test_an_embedding_that_is_asked_for_what_it_has_not(tmp_path: Path, backend: str) -> None:
    reason = refused(tmp_path, bad_models.gather(), backend)
    assert "the model failed while running: " in reason


WORKS = {
    "sleeps": "time.sleep(60)",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "aborts without memory": "os.write(2, b\"what():  std::bad_alloc\\n\"); os.abort()",
    "leaves": "os._exit(7)",
    "raises": "raise RuntimeError('a bug of ours')",
    "chatters": "[print('x' * 1000, flush=True) for _ in range(100_000)]",
    "eats": "x = bytearray(400 << 20)",
    "spins": "\nwhile True: pass",
}  # fmt: skip

CODE = """
import os, signal, sys, time
from edge.adapters.trial_worker import Bounds, supervise
from edge.golden import Verdict
from wire.codec import encode
def work(phase):
    phase("while it slept")
    exec(sys.argv[1])
    return Verdict(True, "done")
print(encode(supervise(work, Bounds(64 << 20, 1, {wall_s}))).decode())
"""


def start(work: str, wall_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE.replace("{wall_s}", str(wall_s)), work],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sleeps", "took longer than 0.5 s while it slept"),
        ("crashes", "the trial was ended by SIGSEGV while it slept"),
        ("is killed", "the trial was ended by SIGKILL while it slept"),
        ("aborts without memory", "needs more than 64 MiB of memory while it slept"),
        ("leaves", "the trial ended with code 7 and no verdict while it slept"),
        ("raises", "no verdict: RuntimeError: a bug of ours while it slept"),
        ("chatters", "while it slept"),
        ("eats", "needs more than 64 MiB of memory while it slept"),
        ("spins", "used more than 1 s of processor time while it slept"),
    ],
)
def test_whatever_the_worker_does_is_told(name: str, reason: str) -> None:
    out, _ = start(WORKS[name], 0.5 if name == "sleeps" else 30).communicate(timeout=60)
    verdict = decode(Verdict, out.encode())
    assert not verdict.passed
    assert reason in verdict.reason
    assert verdict.conclusive is (name != "is killed")


def test_a_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    told = tmp_path / "worker"
    work = f"open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    supervisor = start(work, 60)
    assert wait_until(lambda: told.exists() and told.read_text() != "", Deadline.after(30))
    supervisor.send_signal(signal.SIGKILL)
    supervisor.communicate()
    worker = int(told.read_text())
    assert wait_until(lambda: not Path(f"/proc/{worker}").exists(), Deadline.after(10))
