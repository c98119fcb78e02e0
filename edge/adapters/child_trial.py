"""Runs a trial in a child process with bounds on memory and time, and reads its verdict.

`python -m edge.adapters.child_trial REQUEST BUNDLE SERVING` is the child; it prints its verdict as one
JSON object. The paths stand alone, as they may be bytes that no JSON takes.
It supervises a worker (edge/adapters/trial_worker.py), so that a model which crashes, sleeps or eats
memory ends the worker and not the child. Should the child itself come to an end, that is the verdict.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from edge.adapters.tflite import backend_version, make_loader
from edge.adapters.trial_worker import FROM_OUTSIDE, Bounds, Work, last_words, signal_name, supervise
from edge.golden import Verdict
from edge.loading import read_bundle
from edge.preflight import runtime_level
from edge.trial import Limits, attempt, refusal
from wire.adapters.processes import python_environment, python_module, tied
from wire.codec import decode, encode
from wire.errors import BundleError, EdgeflockError, MessageError
from wire.manifest import Manifest

#: Less than what the agent waits for a trial (edge/lifecycle.py): the reason is better from here.
_WALL_S: Final = 110.0
_PROCESSOR_S: Final = 100
MEMORY_BYTES: Final = 1024**3
_LOWEST_PRIORITY: Final = 19
#: Above what an agent has: on a board without memory the trial goes first.
_OOM_SCORE: Final = 500
_MODULE: Final = "edge.adapters.child_trial"


@dataclass(frozen=True)
class Request:
    """How to try a bundle.

    `memory_bytes` is for the model beside the interpreter, `p99_us` the slowest that it may be, `signed` the
    manifest that the bundle must have.
    """

    backend: str = "auto"
    threads: int = 1
    memory_bytes: int = MEMORY_BYTES
    processor_s: int = _PROCESSOR_S
    wall_s: float = _WALL_S
    p99_us: float | None = None
    signed: Manifest | None = None


class VerdictChild:
    """A child that prints a verdict and ends: one at a time, polled by the control thread."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._words: BinaryIO | None = None

    def begin(self, module: str, *arguments: str) -> None:
        """Start the child; one that runs is ended."""
        self.kill()
        self._words = os.fdopen(os.memfd_create("last-words"), "w+b")  # of a mistake that is ours
        self._child = subprocess.Popen(
            tied(python_module(module, *arguments), how="KILL"),
            env=python_environment() | {"OPENBLAS_NUM_THREADS": "1"},  # it forks: no other threads
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._words,
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
        assert self._words is not None
        answer, words = child.stdout.read(), last_words(self._words.fileno())
        self._let_go()
        return read_verdict(code, answer, words)

    def kill(self) -> None:
        """End the trial, if one runs."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._let_go()

    def _let_go(self) -> None:
        assert self._child is not None
        for file in (self._child.stdout, self._words):
            assert file is not None
            file.close()
        self._child = self._words = None


class ChildTrial(VerdictChild):
    """Trials of models. One above `p99_us` is refused."""

    def __init__(
        self,
        backend: str,
        threads: int,
        *,
        memory_bytes: int = MEMORY_BYTES,
        processor_s: int = _PROCESSOR_S,
        wall_s: float = _WALL_S,
        p99_us: float | None = None,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._threads = threads
        self._bounds = Bounds(memory_bytes, processor_s, wall_s)
        self._p99_us = p99_us

    def start(self, bundle: Path, *, serving: Path | None = None, signed: Manifest | None = None) -> None:
        """Begin to try `bundle`; a trial that runs is ended.

        With `serving`, a bundle that its callers could not call is refused; with `signed`, one with another
        manifest than this.
        """
        request = Request(
            backend=self._backend,
            threads=self._threads,
            memory_bytes=self._bounds.memory_bytes,
            processor_s=self._bounds.processor_s,
            wall_s=self._bounds.wall_s,
            p99_us=self._p99_us,
            signed=signed,
        )
        self.begin(_MODULE, encode(request).decode(), str(bundle), str(serving or ""))


def read_verdict(code: int, answer: bytes, words: str = "") -> Verdict:
    """Turn the child's exit code, output and last words into a verdict."""
    if code < 0:
        ended = f"the trial was ended by {signal_name(-code)}"
        return Verdict(False, ended, conclusive=-code not in FROM_OUTSIDE)
    try:
        if code == 0:
            return decode(Verdict, answer)
    except MessageError:
        pass
    return Verdict(False, f"the trial ended with code {code} and no verdict{': ' + words if words else ''}")


def try_here(request: Request, bundle: Path, serving: Path | None = None) -> Verdict:
    """Try a bundle from this process, which must have no other threads: it forks.

    `serving` is the bundle whose callers the new model would get.
    """
    try:
        work = _work(request, bundle, serving)
    except EdgeflockError as error:
        return refusal(error)
    return supervise(work, Bounds(request.memory_bytes, request.processor_s, request.wall_s))


def _work(request: Request, bundle: Path, serving: Path | None) -> Work:
    loader = make_loader(request.backend, threads=request.threads)
    limits = Limits(
        memory_bytes=request.memory_bytes,
        p99_us=request.p99_us,
        level=runtime_level(backend_version(request.backend)),
        serving=_manifest(serving) if serving else None,
        signed=request.signed,
    )
    return lambda phase: attempt(bundle, loader, limits, phase)


def _manifest(serving: Path) -> Manifest | None:
    """Return the manifest of what serves; None where that is damaged, which is not the candidate's fault."""
    try:
        return read_bundle(serving).manifest
    except BundleError:
        return None


def main(arguments: list[str]) -> int:
    """Be the child."""
    stand_back()
    request, bundle, serving = arguments
    verdict = try_here(decode(Request, request.encode()), Path(bundle), Path(serving) if serving else None)
    sys.stdout.buffer.write(encode(verdict))
    return 0


def stand_back(nice: int = _LOWEST_PRIORITY) -> None:
    """Let everything else on the board go first, and only our parent end us."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shutdown signals whole groups
        signal.signal(number, signal.SIG_IGN)
    os.nice(nice)
    _offer_to_oom_killer()


def _offer_to_oom_killer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    except OSError:  # not Linux, or a container that does not let us
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
