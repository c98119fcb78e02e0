"""Which chunks to ask for next: the window rule of the transfer, without a socket.

Rules, each paid for in a measurement:
- exact topics only, at most 8 outstanding: mosquitto delivers 1,020 retained messages in a burst
  and drops the rest silently, for a wildcard and for many exact filters alike;
- start at 2 and grow while a chunk still arrives soon after it was asked for: a larger window
  fills the pipe and delays control messages behind it;
- the broker's answer to an absent chunk is silence, so every request has a timer;
- asking again is UNSUBSCRIBE then SUBSCRIBE: a broker need not resend what is subscribed already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from wire.blob import CHUNK_BYTES

MIN_OUTSTANDING: Final = 2
MAX_OUTSTANDING: Final = 8

#: A chunk that took longer than this has waited behind others: window bytes = rate x 0.3 s.
_TARGET_DELAY_S: Final = 0.3
_RETRY_AFTER_S: Final = 5.0
_LONGEST_RETRY_S: Final = 45.0
_MAX_REFUSALS: Final = 5
_CATCH_UP_S: Final = 0.5


@dataclass(frozen=True)
class Ask:
    """What to do now: subscribe to some chunks, after unsubscribing from those asked for in vain."""

    subscribe: tuple[int, ...] = ()
    again: tuple[int, ...] = ()


class Window:
    """The outstanding requests of one download."""

    def __init__(self, missing: Iterable[int], *, rate_bytes_s: int | None = None) -> None:
        self._waiting = sorted(set(missing), reverse=True)
        self._asked: dict[int, float] = {}
        self._first_asked: dict[int, float] = {}
        self._refused: dict[int, int] = {}
        self._size = MIN_OUTSTANDING
        self._retry_after_s = _RETRY_AFTER_S
        self._progress_s = 0.0
        self.repeats = 0  # requests made again, for silence or a wrong digest
        self._not_before_s = 0.0
        self._rate_bytes_s = rate_bytes_s

    @property
    def done(self) -> bool:
        return not self._waiting and not self._asked

    @property
    def outstanding(self) -> frozenset[int]:
        return frozenset(self._asked)

    def next(self, now_s: float) -> Ask:
        """Return the requests to make at `now_s`, and count them as made."""
        again = tuple(i for i, at in self._asked.items() if now_s - at >= self._retry_after_s)
        if again:  # a slow link looks like a lost chunk: asking twice as often would double its load
            self._size = MIN_OUTSTANDING
            self._retry_after_s = min(_LONGEST_RETRY_S, 2 * self._retry_after_s)
        fresh = []
        while self._waiting and len(self._asked) < self._size and now_s >= self._not_before_s:
            i = self._waiting.pop()
            fresh.append(i)
            self._first_asked.setdefault(i, now_s)
            self._asked[i] = now_s
            if self._rate_bytes_s:
                # By the clock and not by what came: requests are spread evenly. Who comes late catches up
                # a little, so that a slow loop does not make the cap a lower one.
                behind_s = max(self._not_before_s, now_s - _CATCH_UP_S)
                self._not_before_s = behind_s + CHUNK_BYTES / self._rate_bytes_s
        for i in again:
            self._asked[i] = now_s
        self.repeats += len(again)
        return Ask(tuple(fresh), again)

    def arrived(self, index: int, now_s: float) -> bool:
        """Take note of a good chunk; return False when nobody asked for it (a late double)."""
        asked_s = self._asked.pop(index, None)
        if asked_s is None:
            return False
        waited_s = now_s - self._first_asked.pop(index, asked_s)
        self._progress_s = now_s
        self._retry_after_s = min(_LONGEST_RETRY_S, max(_RETRY_AFTER_S, 3 * waited_s))
        soon = waited_s <= _TARGET_DELAY_S
        self._size = min(MAX_OUTSTANDING, self._size + 1) if soon else max(MIN_OUTSTANDING, self._size - 1)
        return True

    def refuse(self, index: int, now_s: float) -> bool:
        """Take note of a chunk with a wrong digest; return False when it was wrong too often to go on."""
        if index not in self._asked:
            return True
        self._refused[index] = self._refused.get(index, 0) + 1
        self.repeats += 1
        # Not at once: the publisher needs a moment to repair it. The timer asks again.
        self._asked[index] = self._progress_s = now_s
        self._retry_after_s = _RETRY_AFTER_S
        return self._refused[index] < _MAX_REFUSALS

    def stalled_s(self, now_s: float) -> float:
        """Return for how long nothing has arrived although something was asked for."""
        return max((now_s - max(self._first_asked[i], self._progress_s) for i in self._asked), default=0.0)

    def limit(self, rate_bytes_s: int | None) -> None:
        """Change the cap, from the next request on."""
        self._rate_bytes_s = rate_bytes_s
        self._not_before_s = 0.0

    def link_lost(self) -> None:
        """Forget what was asked for: a new connection starts with no subscriptions."""
        self._waiting = sorted({*self._waiting, *self._asked}, reverse=True)
        self._asked.clear()
        self._first_asked.clear()
        self._size = MIN_OUTSTANDING
