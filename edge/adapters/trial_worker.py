"""Runs a piece of work in a forked process within bounds, and says what ended it.

Two processes, since only another process can stop a model that never returns, and tell why:

    supervisor   starts the worker, watches its memory and the clock, ends it, words the verdict
    worker       loads and runs the model; tells each phase, and its verdict, by a pipe

Rules:
- whatever the worker does (a signal, an endless loop, all memory, no word) becomes a verdict that
  names the cause and the phase;
- the bounds are kept on both sides: the kernel's limits hold where the supervisor is not quick enough;
- a worker never outlives its supervisor. Linux only, as the device is.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from edge.backend import INTERPRETER_ERRORS
from edge.golden import Verdict
from edge.trial import refusal
from wire.adapters.own_memory import data_bytes, peak_bytes, resident_bytes
from wire.codec import decode, encode
from wire.errors import EdgeflockError, MessageError

#: What the worker does: it is given a function to tell its phases with.
Work = Callable[[Callable[[str], None]], Verdict]

_SAMPLE_EVERY_MS: Final = 5
#: Address space over real memory: what is asked for and never touched costs nothing.
_ASKED_OVER_USED: Final = 4
_MOST_OUTPUT_BYTES: Final = 1 << 20
_LAST_WORDS_BYTES: Final = 2000
_MOST_HEARD_BYTES: Final = 65536
_VERDICT: Final = b"verdict "
_PR_SET_PDEATHSIG: Final = 1
#: A crash is the model's word; these come from outside: a shutdown, or a board out of memory.
FROM_OUTSIDE: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OUT_OF_MEMORY: Final = ("bad_alloc", "Cannot allocate memory", "MemoryError", "out of memory")


@dataclass(frozen=True)
class Bounds:
    """What a worker may take: memory beside what the supervisor has already, processor time, time."""

    memory_bytes: int
    processor_s: int
    wall_s: float


def supervise(work: Work, bounds: Bounds) -> Verdict:
    """Do `work` in a process of its own and return its verdict, or what kept it from giving one."""
    told, telling = os.pipe()
    words = os.memfd_create("last-words")
    before_bytes, supervisor = _used_bytes("self"), os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _be_worker(work, bounds, telling, words, supervisor)
    os.close(telling)
    try:
        return _Watch(pid, told, words, bounds, before_bytes).verdict()
    finally:
        os.close(told)
        os.close(words)


class _Watch:
    """The supervisor's side of one worker."""

    def __init__(self, pid: int, told: int, words: int, bounds: Bounds, before_bytes: int) -> None:
        self._pid = pid
        self._told = told
        self._words = words
        self._bounds = bounds
        self._most_bytes = before_bytes + bounds.memory_bytes
        self._heard = b""

    def verdict(self) -> Verdict:
        """Wait for the end of the worker, which may be ours to bring about."""
        try:
            stopped = self._wait()
        except BaseException:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise
        if stopped is not None:
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        return stopped or self._judge(os.waitstatus_to_exitcode(status))

    def _wait(self) -> Verdict | None:
        """Return why the worker has to be ended, or None when it has ended by itself."""
        ends_s = time.monotonic() + self._bounds.wall_s
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        while True:
            if poll.poll(_SAMPLE_EVERY_MS):
                heard = os.read(self._told, 65536)
                if not heard:
                    return None
                self._heard = (self._heard + heard)[-_MOST_HEARD_BYTES:]
            if _used_bytes(self._pid) > self._most_bytes:
                return self._failed(_memory_reason(self._bounds))
            if time.monotonic() > ends_s:
                return self._failed(f"took longer than {self._bounds.wall_s:g} s")

    def _judge(self, code: int) -> Verdict:
        *_, last = self._heard.splitlines() or [b""]
        if code == 0 and last.startswith(_VERDICT):
            try:
                return decode(Verdict, last.removeprefix(_VERDICT))
            except MessageError:
                pass
        if code == -signal.SIGXCPU:
            return self._failed(f"used more than {self._bounds.processor_s} s of processor time")
        words = last_words(self._words)
        if any(sign in words for sign in _OUT_OF_MEMORY):
            return self._failed(_memory_reason(self._bounds))
        if code < 0:
            ended = self._failed(f"the trial was ended by {signal_name(-code)}")
            return replace(ended, conclusive=-code not in FROM_OUTSIDE)
        return self._failed(f"the trial ended with code {code} and no verdict{': ' + words if words else ''}")

    def _failed(self, reason: str) -> Verdict:
        lines = [line for line in self._heard.splitlines() if not line.startswith(_VERDICT)]
        return Verdict(False, f"{reason} {lines[-1].decode()}" if lines else reason)


def last_words(errors: int) -> str:
    """Return the last line that a process wrote to the file that was its standard error."""
    size = os.fstat(errors).st_size
    text = os.pread(errors, _LAST_WORDS_BYTES, max(0, size - _LAST_WORDS_BYTES))
    return (text.decode("utf-8", "replace").strip().splitlines() or [""])[-1][:200]


def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _be_worker(work: Work, bounds: Bounds, telling: int, words: int, supervisor: int) -> NoReturn:
    """Do the work and end; nothing of the supervisor's is cleaned up here."""
    code = 1
    try:
        _end_with(supervisor)
        os.dup2(words, 1)  # interpreters print
        os.dup2(words, 2)
        sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        _limit(bounds)
        verdict = _do(work, bounds, lambda phase: _tell(telling, phase.encode()))
        _tell(telling, _VERDICT + encode(verdict))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def _do(work: Work, bounds: Bounds, phase: Callable[[str], None]) -> Verdict:
    """Return the verdict of the work with what only this process knows of it."""
    last = ""

    def tell(name: str) -> None:
        nonlocal last
        last = name
        phase(name)

    before_bytes = resident_bytes()
    _errno().value = 0
    try:
        verdict = work(tell)
    except (EdgeflockError, MemoryError) as error:
        refused = _errno().value == errno.ENOMEM and isinstance(error.__cause__, INTERPRETER_ERRORS)
        if refused or MemoryError in (type(error), type(error.__cause__)):
            return Verdict(False, f"{_memory_reason(bounds)} {last}")
        return refusal(error)
    if verdict.measured is None:
        return verdict
    most_bytes = peak_bytes()
    needs_bytes = max(0, most_bytes - before_bytes)
    return replace(
        verdict,
        reason=f"{verdict.reason}; {needs_bytes / 1e6:.0f} MB of memory",
        measured=replace(verdict.measured, peak_rss_bytes=most_bytes, needs_bytes=needs_bytes),
    )


def _limit(bounds: Bounds) -> None:
    """Let the kernel stop what the supervisor cannot see in time."""
    asked = min(data_bytes() + bounds.memory_bytes * _ASKED_OVER_USED, sys.maxsize)
    limits = {
        resource.RLIMIT_DATA: (asked, asked),
        resource.RLIMIT_CPU: (bounds.processor_s, bounds.processor_s + 1),
        resource.RLIMIT_FSIZE: (_MOST_OUTPUT_BYTES, _MOST_OUTPUT_BYTES),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, pair in limits.items():
        resource.setrlimit(kind, pair)


def _end_with(parent: int) -> None:
    """Ask the kernel to end this process with the one that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it went before we asked
        os._exit(1)


def _tell(pipe: int, line: bytes) -> None:
    os.write(pipe, line + b"\n")


def _memory_reason(bounds: Bounds) -> str:
    return f"needs more than {bounds.memory_bytes >> 20} MiB of memory"


def _errno() -> ctypes.c_int:
    """Return the C library's own: interpreters that get no memory often say only that they failed."""
    place = ctypes.CDLL(None).__errno_location
    place.restype = ctypes.POINTER(ctypes.c_int)
    found: ctypes.c_int = place().contents
    return found


def _used_bytes(process: int | str) -> int:
    """Return the memory that is a process's own: resident, without what is a file's. 0 when it is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * resource.getpagesize()
