"""Which of the outbox's messages to send next: live ones first, the backlog behind them.

The broker acknowledges what it has not yet saved, so only the server's `ack` removes a message from
the outbox; until then it is sent again after every reconnect and after a silence. The server drops
doubles. One `SendWindow` for each (stream, boot).
"""

from __future__ import annotations

from typing import Final

#: Sent and not yet acknowledged by the server.
MAX_OPEN: Final = 100

#: With open messages and no progress for so long, all are sent again: the broker or the server lost them.
RESEND_AFTER_S: Final = 10.0


class SendWindow:
    """Sequence numbers of one stream and boot: acknowledged, sent, and still to be sent."""

    def __init__(self, acknowledged: int, newest: int) -> None:
        self._acknowledged = acknowledged
        self._newest = newest
        self._live_from = newest + 1
        self._next_live = newest + 1
        self._next_backlog = acknowledged + 1
        self._progress_s = 0.0

    @property
    def open(self) -> int:
        """How many were sent and are not acknowledged."""
        backlog = max(0, self._next_backlog - 1 - self._acknowledged)
        return backlog + (self._next_live - max(self._live_from, self._acknowledged + 1))

    @property
    def settled(self) -> bool:
        """Whether everything is acknowledged."""
        return self._acknowledged >= self._newest

    def added(self, sequence: int) -> None:
        """A new message is in the outbox."""
        self._newest = sequence

    def acknowledged(self, sequence: int, now_s: float) -> None:
        """The server has everything up to `sequence` in its store."""
        if sequence <= self._acknowledged:
            return
        self._acknowledged = min(sequence, self._newest)
        self._next_backlog = max(self._next_backlog, self._acknowledged + 1)
        self._next_live = max(self._next_live, self._acknowledged + 1)
        self._progress_s = now_s

    def restart(self, now_s: float) -> None:
        """Consider nothing sent: what was there before now is the backlog, what comes next is live."""
        self._live_from = self._next_live = self._newest + 1
        self._next_backlog = self._acknowledged + 1
        self._progress_s = now_s

    def next(self, now_s: float) -> int | None:
        """Return the sequence to send next, or None; call `sent` when it was taken."""
        if self.open and now_s - self._progress_s > RESEND_AFTER_S:
            self.restart(now_s)
        if self._next_live <= self._newest:
            return self._next_live
        if self.open < MAX_OPEN and self._next_backlog < self._live_from:
            return self._next_backlog
        return None

    def sent(self, sequence: int, now_s: float) -> None:
        if not self.open:
            self._progress_s = now_s
        if sequence == self._next_live:
            self._next_live += 1
        else:
            self._next_backlog = sequence + 1
