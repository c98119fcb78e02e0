"""Results on an MQTT topic: one JSON object a message, at QoS 1.

A row counts as taken when the client has it and as safe when the broker has acknowledged it, which it
does in order (MQTT 5, section 4.6). One that it acknowledges with a refusal, as its access list says, is
lost. While the broker is away nothing is taken: the queue in front of this sink fills, and its rules say
what happens then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from edge.online.answer_rows import Row, to_line
from edge.online.delivery import RowsRefusedError
from wire.deadline import Deadline, wait_until
from wire.errors import UnavailableError
from wire.link import Link, LinkDown, LinkUp, PublishRefused
from wire.messages import MAX_PAYLOAD_BYTES

_WAIT_S: Final = 2.0
_GOODBYE_S: Final = 5.0
_POLL_S: Final = 0.02


class MqttSink:
    """Publishes rows. `start` begins to connect and does not wait for the broker."""

    def __init__(self, link: Link, topic: str) -> None:
        self._link = link
        self._topic = topic
        self._taken = 0
        self._reason = "not connected yet"
        self._refused: dict[int, str] = {}
        self.safe = 0

    def open(self) -> None:
        self._link.start()

    def write(self, rows: Sequence[Row]) -> int:
        """Publish what the client takes in a while; raise UnavailableError when it takes nothing."""
        taken = 0
        deadline = Deadline(time.monotonic() + _WAIT_S)
        for row in rows:
            payload = to_line(row).encode()
            if len(payload) > MAX_PAYLOAD_BYTES:
                if taken:
                    return taken
                raise RowsRefusedError(1, f"the answer to {row['id'][:80]!r} is too large to be sent")
            while not self._link.publish(self._topic, payload):
                if deadline.passed:
                    if taken:
                        return taken
                    raise UnavailableError(self._reason)
                self._hear(_POLL_S)
            taken += 1
            self._taken += 1
        self._hear(0)
        return taken

    def take_refused(self) -> dict[int, str]:
        refused, self._refused = self._refused, {}
        return refused

    def tick(self) -> None:
        self._hear(0)

    def close(self) -> None:
        wait_until(lambda: self._link.unacknowledged == 0, Deadline.after(_GOODBYE_S))
        self._hear(0)
        self._link.close()

    def _hear(self, timeout_s: float) -> None:
        """Take the link's events, which are no messages here, and note what is acknowledged."""
        acknowledged = self._taken - self._link.unacknowledged  # before the events: refusals come first
        while (event := self._link.receive(timeout_s)) is not None:
            match event:
                case LinkDown(reason):
                    self._reason = reason
                case LinkUp():
                    self._reason = "the broker is slow"
                case PublishRefused(number, reason):
                    self._refused[number] = f"the broker refuses it: {reason}"
            timeout_s = 0
        self.safe = max(self.safe, acknowledged)
