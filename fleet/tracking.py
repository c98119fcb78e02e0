"""Which messages of a device have arrived: the pure half of "exactly once".

A report is unique by (device, stream, boot, sequence). The mark is the highest sequence below which
nothing is missing; it is what the server acknowledges. A device whose outbox had to drop messages
says so by `first`: what lies below it and never came is counted as lost and not waited for.
"""

from __future__ import annotations

from typing import Final

from wire.errors import MessageError

#: Sequences above a gap that are remembered; a device that opens a wider one is not believed.
MAX_PENDING: Final = 50_000

#: A thousand messages a second for thirty years. Gaps of a device that skips further could not be added up in
#: 64 bits, and what looks at the health of all would fail for all.
MAX_SEQUENCE: Final = 2**40


class Tracker:
    """Arrivals of one (device, stream, boot)."""

    def __init__(self, mark: int = 0, lost: int = 0, pending: frozenset[int] = frozenset()) -> None:
        self.mark = mark
        self.lost = lost
        self.highest = max(pending, default=mark)
        self._pending = set(pending)

    @property
    def missing(self) -> int:
        """How many sequences below the highest known one have not come."""
        if not self._pending:
            return 0
        return self.highest - self.mark - len(self._pending)

    def seen(self, sequence: int) -> bool:
        """Return whether this sequence has come before."""
        return sequence <= self.mark or sequence in self._pending

    def add(self, sequence: int, first: int) -> bool:
        """Take note of an arrival; return False for a double. Raises MessageError for an absurd head."""
        if not 1 <= first <= sequence <= MAX_SEQUENCE:
            raise MessageError("Head", f"sequence {sequence} with first {first}")
        self._skip_to(first)
        if self.seen(sequence):
            return False
        if sequence > self.mark + 1 and len(self._pending) >= MAX_PENDING:
            raise MessageError("Head", f"more than {MAX_PENDING} messages above a gap at {self.mark + 1}")
        self._pending.add(sequence)
        self.highest = max(self.highest, sequence)
        self._advance()
        return True

    def _skip_to(self, first: int) -> None:
        if first - 1 <= self.mark:
            return
        below = {s for s in self._pending if s < first}
        self.lost += first - 1 - self.mark - len(below)
        self._pending -= below
        self.mark = first - 1
        self.highest = max(self.highest, self.mark)
        self._advance()

    def _advance(self) -> None:
        while self.mark + 1 in self._pending:
            self.mark += 1
            self._pending.remove(self.mark)
