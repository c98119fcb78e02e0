"""Runs a trial in a child process with a time and memory limit, and reads its verdict.

`python -m edge.adapters.child_trial BUNDLE BACKEND THREADS` is the child: it prints one JSON object.
Whatever else happens to it (a signal, an empty answer) is the verdict that the model failed.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from edge.adapters.tflite import make_loader
from edge.golden import Verdict
from edge.trial import examine
from wire.adapters.processes import python_environment, python_module, tied
from wire.errors import EdgeflockError

#: Address space, not RAM: the interpreter's libraries map about half a GiB of it.
_MEMORY_LIMIT_BYTES: Final = 3 * 1024**3 if sys.maxsize > 2**32 else 1024**3
_CPU_LIMIT_S: Final = 110
_LOWEST_PRIORITY: Final = 19
_FROM_OUTSIDE: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MODULE: Final = "edge.adapters.child_trial"


class ChildTrial:
    """One trial at a time, polled by the control thread."""

    def __init__(self, backend: str, threads: int) -> None:
        self._backend = backend
        self._threads = threads
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, bundle: Path) -> None:
        """Begin to try `bundle`; a trial that runs is ended."""
        self.kill()
        command = tied(python_module(_MODULE, str(bundle), self._backend, str(self._threads)), how="KILL")
        self._child = subprocess.Popen(
            command,
            env=python_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def poll(self) -> Verdict | None:
        """Return the verdict, or None while the trial runs."""
        child = self._child
        if child is None:
            return Verdict(False, "no trial is running")
        code = child.poll()
        if code is None:
            return None
        assert child.stdout is not None
        answer = child.stdout.read()
        child.stdout.close()
        self._child = None
        return read_verdict(code, answer)

    def kill(self) -> None:
        """End the trial, if one runs."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            assert self._child.stdout is not None
            self._child.stdout.close()
            self._child = None


def read_verdict(code: int, answer: bytes) -> Verdict:
    """Turn a child's exit code and output into a verdict."""
    if code < 0:
        # A crash is the model's word; a kill comes from outside: a shutdown, or a board out of memory.
        return Verdict(False, f"the trial was ended by {_name(-code)}", conclusive=-code not in _FROM_OUTSIDE)
    try:
        said = json.loads(answer)
        return Verdict(said["passed"] is True and code == 0, str(said["reason"]))
    except (ValueError, KeyError, TypeError):
        return Verdict(False, f"the trial ended with code {code} and no verdict")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def main(arguments: list[str]) -> int:
    """Be the child."""
    bundle, backend, threads = arguments
    for number in (signal.SIGINT, signal.SIGTERM):  # a shutdown signals whole groups; our parent ends us
        signal.signal(number, signal.SIG_IGN)
    os.nice(_LOWEST_PRIORITY)
    _offer_to_oom_killer()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, _MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
    try:
        verdict = examine(Path(bundle), make_loader(backend, threads=int(threads)))
    except EdgeflockError as error:
        verdict = Verdict(False, str(error))
    except MemoryError:
        verdict = Verdict(False, f"needs more than {_MEMORY_LIMIT_BYTES >> 20} MiB")
    print(json.dumps({"passed": verdict.passed, "reason": verdict.reason}))
    return 0


def _offer_to_oom_killer() -> None:
    """On a small board the memory limit is above what there is: then we go, and not the agent."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:  # not Linux, or a container that does not let us
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
