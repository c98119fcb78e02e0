"""Ending on a signal, without doing anything in a signal handler.

A handler that sets an Event can deadlock: it runs on the main thread, perhaps inside that Event's
own lock. So the handler does nothing, the interpreter writes the signal's number into a pipe, and a
thread that waits at its other end sets the Event. (Blocking the signals for a `sigwait` is no way:
native libraries have threads from before, in which they are not blocked.)
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(*events: threading.Event) -> None:
    """Set `events` on SIGTERM or SIGINT. Call on the main thread, once."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in _ENDING:
        signal.signal(number, _do_nothing)
    threading.Thread(target=_wait, args=(reader, events), name="signals", daemon=True).start()


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end the process again, as before: for who has nothing left to do but exec."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)


def _do_nothing(number: int, frame: object) -> None:
    """Be a handler: without one the signal would end the process."""


def _wait(reader: int, events: tuple[threading.Event, ...]) -> None:
    while numbers := os.read(reader, 64):
        if set(numbers) & set(_ENDING):
            for event in events:
                event.set()
