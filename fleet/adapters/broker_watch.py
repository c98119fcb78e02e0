"""Starts our own brokers again when they end: a fleet without its broker is a fleet without word.

The broker has saved what it retains as of its last minute; the server looks after the rest when it is back.
A broker that ends again and again is started after longer and longer pauses.

Threads: one, beside the server's loop, which may be waiting for the very broker. A child that it starts
ends with it (`wire.adapters.processes.tied`): so it is closed when the brokers are stopped, not before.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from fleet.adapters.broker import RunningBroker
from wire.deadline import Clock, Deadline
from wire.errors import UnavailableError

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.2
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_STEADY_S: Final = 300.0


class Pause:
    """How long to wait before the next start: it doubles, and is short again after a steady time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pause_s = _FIRST_PAUSE_S
        self._steady = Deadline.after(0, clock)

    def begin(self) -> float:
        """Return the pause after an end that was just seen, in seconds."""
        pause_s = _FIRST_PAUSE_S if self._steady.passed else self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        self._steady = Deadline.after(pause_s + _STEADY_S, self._clock)
        return pause_s


class BrokerWatch:
    """Watches one broker from `start` until `close`."""

    def __init__(self, broker: RunningBroker, name: str, clock: Clock) -> None:
        self._broker = broker
        self._name = name
        self._pause = Pause(clock)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {name}", daemon=True)

    def start(self) -> BrokerWatch:
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop the broker, and the watch."""
        self._ended.set()
        self._broker.stop()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            if not self._broker.missed:
                continue
            code, pause_s = self._broker.process.poll(), self._pause.begin()
            log.error("%s has ended (%s): starting it again in %g s", self._name, code, pause_s)
            if self._ended.wait(pause_s):
                return
            self._revive()

    def _revive(self) -> None:
        try:
            self._broker.revive()
        except (UnavailableError, OSError) as error:  # no memory, no disk, a port that was taken meanwhile
            log.error("%s cannot be started: %s", self._name, error)
