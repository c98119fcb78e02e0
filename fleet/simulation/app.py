"""A simulation from beginning to end: connects the crowd, lets it live, and looks whether all of it arrived.

Threads: paho's network thread for each connection; everything else is the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from fleet.adapters.arrivals import arrived
from fleet.simulation.course import Count, Course, Outcome
from fleet.simulation.crowd import Crowd
from wire.adapters.paho_link import PahoLink
from wire.deadline import Deadline
from wire.errors import UnavailableError
from wire.topics import Topics

_CONNECT_S: Final = 10.0
_TURN_S: Final = 0.02
_TELL_EVERY_S: Final = 1.0


#: Is told, once a second, what happened so far, and the seconds that are left.
Tell = Callable[[Count, float], None]


def simulate(course: Course, stop: threading.Event, tell: Tell) -> Outcome:
    """Let a fleet live until its time is up or `stop`; raise UnavailableError without a broker."""
    began_s = time.monotonic()
    # A clock that runs faster begins in the past: the server does not believe one that is ahead.
    first_s = time.time() - (course.seconds * course.speed if course.speed > 1 else 0)
    boot = f"sim-{int(time.time() * 1000)}"
    links = [PahoLink(course.broker, f"{boot}-{n}") for n in range(min(course.connections, course.devices))]
    crowd = Crowd(
        links, Topics(course.prefix), course.scenario, devices=course.devices, boot=boot,
        unix_s=lambda: first_s + (time.monotonic() - began_s) * course.speed, clock=time.monotonic,
    )  # fmt: skip
    try:
        _connect(crowd.open(), course, stop)
        _live(crowd, Deadline.after(course.seconds), stop, tell)
        crowd.finish()
        _drain(crowd, Deadline.after(course.drain_s), tell)
        honest = [name for name in crowd.names if name not in crowd.liars]
        found = arrived(course.state, boot, honest, crowd.count.said) if course.state else None
        return Outcome(crowd.count, len(crowd.liars), time.monotonic() - began_s, found)
    finally:
        for link in links:
            link.close()


def _connect(crowd: Crowd, course: Course, stop: threading.Event) -> None:
    deadline = Deadline.after(_CONNECT_S)
    while not crowd.connected:
        if deadline.passed:
            raise UnavailableError(f"no answer from {course.broker}: is the broker running?")
        if stop.is_set():
            return
        crowd.turn(_TURN_S, speaking=False)


def _live(crowd: Crowd, deadline: Deadline, stop: threading.Event, tell: Tell) -> None:
    again = Deadline.after(0)
    while not deadline.passed and not stop.is_set():
        crowd.turn(_TURN_S)
        if again.passed:
            tell(crowd.count, deadline.left_s)
            again = Deadline.after(_TELL_EVERY_S)


def _drain(crowd: Crowd, deadline: Deadline, tell: Tell) -> None:
    again = Deadline.after(_TELL_EVERY_S)
    while crowd.count.held and not deadline.passed:
        crowd.turn(_TURN_S, speaking=False)
        if again.passed:
            tell(crowd.count, 0.0)
            again = Deadline.after(_TELL_EVERY_S)
