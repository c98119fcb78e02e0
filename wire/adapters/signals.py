"""Ending on a signal, without running Python code in a signal handler.

A handler that sets an Event can deadlock: it runs on the main thread, perhaps inside that Event's
own lock. So the signals are blocked, and a thread that does nothing else waits for them.
"""

from __future__ import annotations

import signal
import threading
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM or SIGINT. Call before other threads start: they inherit the blocked signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    threading.Thread(target=_wait, args=(stop,), name="signals", daemon=True).start()


def _wait(stop: threading.Event) -> None:
    while True:
        signal.sigwait(_ENDING)
        stop.set()
