"""The first steps of a model's process: to be no burden, and to end when the runtime does.

    python -P worker_start.py BACKEND THREADS BATCH CHANNEL LIFELINE MODEL

The last three are descriptors: the socket to the runtime, the reading end of a pipe that nobody
writes to, and the model's file. `edge.adapters.worker_main` does the rest.

- Python, numpy and the interpreter take a second of a small board's only core, in the middle of a
  swap that nobody is to notice. So they are imported at the lowest priority; by a thread of its own,
  since what has lowered its priority cannot raise it again. The serving thread never lowered it.
- Run by its path, with nothing above but the standard library: `-m` would import the package first.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
Prepare = Callable[..., Callable[[], int]]

_WORKER: Final = "edge.adapters.worker_main"
_LOWEST_PRIORITY: Final = 19
_MORE_EXPENDABLE: Final = 300
_LARGEST_SCORE: Final = 1000
_OOM_SCORE: Final = "/proc/self/oom_score_adj"


def main(arguments: list[str]) -> int:
    """Be the process."""
    backend, threads, batch, channel, lifeline, model = arguments
    for number in (signal.SIGINT, signal.SIGTERM):  # a shutdown signals whole groups; the runtime ends us
        signal.signal(number, signal.SIG_IGN)
    end_with_the_runtime(int(lifeline))
    offer_to_oom_killer()

    def load() -> Callable[[], int]:
        prepare: Prepare = importlib.import_module(_WORKER).prepare
        return prepare(backend, int(threads), int(batch), channel_fd=int(channel), model_fd=int(model))

    if int(threads) > 1:  # the interpreter's own threads get the priority of the one that makes them
        at_lowest_priority(lambda: importlib.import_module(_WORKER))
        return load()()
    return at_lowest_priority(load)()


def at_lowest_priority(do: Callable[[], T]) -> T:
    """Do something in a thread that gets the processor when nobody else wants it; return its result."""
    results: list[T] = []

    def run() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        results.append(do())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not results:  # an error of ours; the runtime reads the code
        sys.exit(1)
    return results[0]


def end_with_the_runtime(lifeline: int) -> None:
    """Let the kernel end this process by SIGIO when the runtime's end of the pipe closes.

    No thread of ours could: a model that never returns may hold the GIL. And a "parent death signal"
    comes when the thread that started us ends, which in a swap is long before the runtime.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
    closed_already, _, _ = select.select([lifeline], [], [], 0)
    if closed_already:
        sys.exit(1)


def offer_to_oom_killer() -> None:
    """Be the first to go when memory runs out: the runtime starts another of us, nobody another of it."""
    try:
        with open(_OOM_SCORE, "r+", encoding="ascii") as score:
            wanted = min(_LARGEST_SCORE, int(score.read()) + _MORE_EXPENDABLE)
            score.write(str(wanted))
    except (OSError, ValueError):  # not Linux, or a container that does not let us
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
