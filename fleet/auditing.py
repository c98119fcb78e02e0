"""Finds out what the broker holds of the blobs, by asking for them as a device would.

Rules:
- exact topics under the window of the transfer (wire/window.py), at most 8 at a time: a burst of
  retained messages is cut short by the broker, silently;
- absence is silence: behind each request an echo is published to ourselves, and what has not come when
  the echo comes is not there. Where no echo comes (a broker that forbids it, or reorders) the window's
  own timer says so, and then for the rest of that blob too: one silence is enough to wait for;
- what is not there, or not what it should be, is published; nothing else is;
- the order of blobs is that of their need: the newest release first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.publishing import Publication, Publisher
from wire.deadline import Clock
from wire.link import Incoming, Link
from wire.window import Window

log = logging.getLogger(__name__)

#: Without a reconnect too, now and then: a broker may lose what it says it has.
AUDIT_EVERY_S: Final = 6 * 3600.0


@dataclass(frozen=True)
class Request:
    """What to ask the broker now, and under which number its echo will come."""

    subscribe: tuple[str, ...]
    number: int


class Audit:
    """One look at all of `chunks`. Pure: the caller asks, and says what came."""

    def __init__(self, chunks: Sequence[Publication]) -> None:
        self._chunks = chunks
        self._index = {chunk.topic: i for i, chunk in enumerate(chunks)}
        self._window = Window(range(len(chunks)))
        self._asked_in: dict[int, int] = {}
        self._number = 0
        self._known_missing: set[str] = set()

    @property
    def done(self) -> bool:
        return self._window.done

    @property
    def outstanding(self) -> list[str]:
        """The topics that were asked for and have not come."""
        return [self._chunks[i].topic for i in sorted(self._window.outstanding)]

    def ask(self, now_s: float) -> tuple[Request | None, list[Publication]]:
        """Return what to ask for, and which chunks are missing for want of any answer."""
        step = self._window.next(now_s)
        silent = [self._take(i, now_s) for i in step.again]
        self._known_missing |= {chunk.mark for chunk in silent}
        fresh = [i for i in step.subscribe if self._chunks[i].mark not in self._known_missing]
        skipped = [self._take(i, now_s) for i in step.subscribe if i not in fresh]
        if not fresh:
            return None, silent + skipped
        self._number += 1
        self._asked_in |= dict.fromkeys(fresh, self._number)
        topics = tuple(self._chunks[i].topic for i in fresh)
        return Request(topics, self._number), silent + skipped

    def came(self, topic: str, payload: bytes, now_s: float) -> tuple[Publication, bool] | None:
        """Return the chunk that came and whether it is right; None for one that nobody asked for."""
        i = self._index.get(topic)
        if i is None or i not in self._window.outstanding:
            return None
        chunk = self._take(i, now_s)
        return chunk, payload == chunk.load()

    def echoed(self, number: int, now_s: float) -> list[Publication]:
        """Return the chunks of requests up to `number` that have not come: they are not there."""
        absent = [i for i in sorted(self._window.outstanding) if self._asked_in[i] <= number]
        return [self._take(i, now_s) for i in absent]

    def _take(self, index: int, now_s: float) -> Publication:
        self._window.arrived(index, now_s)
        return self._chunks[index]


class Auditor:
    """Runs audits over the server's link, and tells the publisher what stands and what is missing."""

    def __init__(self, link: Link, publisher: Publisher, echo_topic: str, clock: Clock) -> None:
        self._link = link
        self._publisher = publisher
        self._echo_topic = echo_topic
        self._clock = clock
        self._audit: Audit | None = None
        self._round = 0  # an echo of an earlier audit says nothing about this one
        self._echo: int | None = None  # to be sent behind what was asked for
        self._up = False
        self._next_s = 0.0
        self._missing = self._right = 0

    @property
    def idle(self) -> bool:
        return self._audit is None

    def link_lost(self) -> None:
        """Drop what was asked over the old connection: its silence says nothing."""
        self._end()
        self._up = False

    def reconnected(self) -> None:
        """Let the next `begin` look at all that is in doubt."""
        self.link_lost()
        self._up = True
        self._next_s = 0.0

    def begin(self, wanted: Iterable[Publication]) -> None:
        """Begin to look when that is due: at all that is in doubt, and now and then at all that stands."""
        if self._audit is not None or not self._up or self._clock() < self._next_s:
            return
        if self._next_s:
            self._publisher.doubt_all()
        self._next_s = self._clock() + AUDIT_EVERY_S
        chunks = [p for p in wanted if self._publisher.doubts(p)]
        if chunks:
            self._round += 1
            self._missing = self._right = 0
            self._audit = Audit(chunks)
            self._link.subscribe([self._echo_topic])

    def takes(self, message: Incoming) -> bool:
        """Return whether the message was an answer to an audit, and look at it."""
        if message.topic == self._echo_topic:
            self._take_echo(message.payload)
            return True
        if self._audit is None:
            return False
        came = self._audit.came(message.topic, message.payload, self._clock())
        if came is None:
            return False
        chunk, right = came
        self._link.unsubscribe([chunk.topic])
        if right:
            self._right += 1
            self._publisher.stands(chunk)
        else:
            self._lack([chunk])
        return True

    def step(self) -> None:
        """Ask for more, as far as the window allows."""
        if self._audit is None:
            return
        request, missing = self._audit.ask(self._clock())
        self._link.unsubscribe([chunk.topic for chunk in missing])
        self._lack(missing)
        if request is not None:
            self._link.subscribe(request.subscribe)
            self._echo = request.number
        if self._echo is not None and self._link.publish(
            self._echo_topic, b"%d/%d" % (self._round, self._echo)
        ):
            self._echo = None
        if self._audit.done:
            if self._missing:
                log.warning("the broker had lost %d of %d chunks", self._missing, self._missing + self._right)
            self._end()

    def _take_echo(self, payload: bytes) -> None:
        audit_round, _, number = payload.partition(b"/")
        if self._audit is None or audit_round != b"%d" % self._round or not number.isdigit():
            return
        absent = self._audit.echoed(int(number), self._clock())
        self._link.unsubscribe([chunk.topic for chunk in absent])
        self._lack(absent)

    def _lack(self, chunks: Sequence[Publication]) -> None:
        self._missing += len(chunks)
        for chunk in chunks:
            self._publisher.lacks(chunk)

    def _end(self) -> None:
        if self._audit is not None:
            self._link.unsubscribe([*self._audit.outstanding, self._echo_topic])
        self._audit = self._echo = None
