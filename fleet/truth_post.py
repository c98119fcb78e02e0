"""What people said is right goes to the device that gave the answer: it counts it for its release.

Rules:
- only to devices that are connected: a truth is not retained, so for others it waits here;
- a label counts as handed over when the broker has acknowledged it, and not when the link has taken it: a
  server that is killed in between sends it again. It is also sent again when somebody changes it. The device
  counts each answer once, whatever comes twice (wire/messages.py, `Truths`).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fleet.adapters.labels import Labels
from wire.codec import encode
from wire.deadline import Clock, Deadline
from wire.link import Link
from wire.messages import Truths
from wire.topics import Topics

_EVERY_S: Final = 1.0

#: A sample's id, and what is right.
Label = tuple[str, int]

#: Labels of one turn.
_MOST: Final = 200
#: Labels of one message: ids of 128 characters, each escaped in JSON, are 40 KB.
_TOGETHER: Final = 50


class TruthPost:
    """Of the server's loop."""

    def __init__(self, labels: Labels, topics: Topics, clock: Clock) -> None:
        self._labels = labels
        self._topics = topics
        self._clock = clock
        self._look = Deadline.after(0, clock)
        self._under_way: deque[tuple[int, str, list[Label]]] = deque()  # by the number of their publish

    def turn(self, link: Link) -> None:
        """Hand over what waits, once a second; what the link does not take waits on."""
        if not self._look.passed:
            return
        self._look = Deadline.after(_EVERY_S, self._clock)
        self._settle(link)
        for device, waiting in self._labels.waiting(_MOST).items():
            if not self._hand_over(link, device, waiting):
                return

    def _settle(self, link: Link) -> None:
        """Take note of what the broker has acknowledged."""
        acknowledged = link.taken - link.unacknowledged
        while self._under_way and self._under_way[0][0] <= acknowledged:
            _, device, rows = self._under_way.popleft()
            self._labels.handed_over(device, rows)

    def _hand_over(self, link: Link, device: str, waiting: list[Label]) -> bool:
        sent = {row for _, name, rows in self._under_way if name == device for row in rows}
        waiting = [row for row in waiting if row not in sent]
        for start in range(0, len(waiting), _TOGETHER):
            rows = waiting[start : start + _TOGETHER]
            truths = Truths(tuple(sample for sample, _ in rows), tuple(truth for _, truth in rows))
            if not link.publish(self._topics.device(device, "truth"), encode(truths)):
                return False
            self._under_way.append((link.taken, device, rows))
        return True
