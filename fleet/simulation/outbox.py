"""What a simulated device has said and the server has not acknowledged: as a real outbox, in memory."""

from __future__ import annotations

from typing import Final

from wire.deadline import Clock
from wire.messages import Ack
from wire.topics import Leaf

#: Without progress for so long everything is sent again.
_AGAIN_S: Final = 10.0

#: How many messages of one device are on their way without an acknowledgement.
_MAX_OPEN: Final = 200

_Key = tuple[Leaf, int]


class Outbox:
    """The durable messages of one boot of one device; the newest are sent first."""

    def __init__(self, boot: str, clock: Clock) -> None:
        self._boot = boot
        self._clock = clock
        self._held: dict[_Key, bytes] = {}
        self._sent: set[_Key] = set()
        self._moved_s = clock()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, stream: Leaf, sequence: int, payload: bytes) -> None:
        """Hold a message until it is acknowledged."""
        if not self._held:
            self._moved_s = self._clock()
        self._held[stream, sequence] = payload

    def due(self) -> list[tuple[_Key, bytes]]:
        """Return what is to be sent now."""
        if self._sent and self._clock() - self._moved_s > _AGAIN_S:
            self.again()
        room = _MAX_OPEN - len(self._sent)
        if room <= 0 or len(self._held) == len(self._sent):
            return []
        waiting = [key for key in reversed(self._held) if key not in self._sent]
        return [(key, self._held[key]) for key in waiting[:room]]

    def sent(self, key: _Key) -> None:
        """Take note that a message is on its way."""
        self._sent.add(key)

    def again(self) -> None:
        """Take nothing for granted: the connection was lost, or nothing moves."""
        self._sent.clear()
        self._moved_s = self._clock()

    def acknowledge(self, ack: Ack) -> int:
        """Let go of what the server has; return how many messages that were."""
        gone = [
            (stream, sequence)
            for stream, marks in ack.streams.items()
            for mark in marks
            if mark.boot == self._boot
            for (held, sequence) in self._held
            if held == stream and sequence <= mark.sequence
        ]
        for stream, sequence in gone:
            self._held.pop((stream, sequence), None)
            self._sent.discard((stream, sequence))
        if gone:
            self._moved_s = self._clock()
        return len(gone)
