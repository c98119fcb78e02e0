"""Answers that wait until somebody says what was right. Pure, and safe between threads.

Rules:
- the newest `limit` rows are remembered; an older answer is forgotten, and its truth refused;
- those that were sent as samples wait in a room of their own: whoever looks at a sample and labels it
  does so hours later, when a busy device has given a million others; they may be kept over a restart;
- an id that waits is not given to another answer: somebody could have it judged in its place;
- a truth counts once: a second one for the same answer finds nothing;
- it counts for the release that answered, also after another has taken its place.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Rows that wait for their truth: 250 bytes each.
ROWS: Final = 4_000

#: An answer that waits: its release, the class and the confidence (NaN: not known) of each row, the labels,
#: the number of classes, its tags. Plain tuples of plain values are nothing to the garbage collector, which
#: objects would keep busy.
Answered = tuple[str, tuple[int, ...], tuple[float, ...], tuple[str, ...], int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """An answer with its truth: (class, truth, confidence) of each row."""

    release: str
    rows: tuple[tuple[int, int, float], ...]
    tags: tuple[str, ...] = ()

    @property
    def correct(self) -> int:
        return sum(said == truth for said, truth, _ in self.rows)

    @property
    def wrong(self) -> int:
        return len(self.rows) - self.correct


class TruthError(Exception):
    """A truth that does not count; `cause` is `unknown` (no such answer waits) or `unfit` (no such class)."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Remembered:
    """A bounded number of answers. Any thread may call; the lock is held for a few steps of a dict."""

    def __init__(self, limit: int = ROWS) -> None:
        self._lock = threading.Lock()
        self._all = _Room(limit)
        self._sampled = _Room(limit)
        self._judged: list[str] = []
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._all.answers)

    def remember(self, identity: str, answered: Answered) -> None:
        """Keep an answer; the oldest ones are forgotten for it. One with the same id stays."""
        with self._lock:
            if identity not in self._sampled.answers:
                self._all.keep(identity, answered)

    def sampled(self, identity: str, answered: Answered | None = None) -> Answered | None:
        """Let an answer that was sent as a sample wait longer, and return it; None for one that is not there.

        `answered` is that of a sample from before a restart.
        """
        with self._lock:
            answered = answered or self._all.take(identity)
            if answered is not None:
                self._sampled.keep(identity, answered)
            return answered

    def take_judged(self) -> list[str]:
        """Return the ids of samples whose truth was counted since the last time."""
        with self._lock:
            judged, self._judged = self._judged, []
            return judged

    def find(self, identity: str) -> Answered | None:
        with self._lock:
            return self._all.answers.get(identity) or self._sampled.answers.get(identity)

    def judge(self, identity: str, truths: Sequence[int]) -> Judgement:
        """Take what was right for each row of an answer; raise TruthError, which is counted."""
        with self._lock:
            room = self._all if identity in self._all.answers else self._sampled
            answered = room.answers.get(identity)
            if answered is None:
                raise self._refuse(
                    "unknown", f"no prediction {identity[:128]!r}: too old, or its truth is known"
                )
            release, said, confidences, _, classes, tags = answered
            if len(truths) != len(said):
                raise self._refuse("unfit", f"{len(truths)} truths for a prediction of {len(said)} rows")
            if not all(0 <= truth < classes for truth in truths):
                raise self._refuse("unfit", f"truth {truths}: the classes are 0 to {classes - 1}")
            room.take(identity)
            if room is self._sampled:
                self._judged.append(identity)
            return Judgement(release, tuple(zip(said, truths, confidences, strict=True)), tags)

    def _refuse(self, cause: str, text: str) -> TruthError:
        self.refused[cause] += 1
        return TruthError(cause, text)


class _Room:
    """Answers in the order in which they came: a plain dict looks for its first key past all removed ones."""

    def __init__(self, limit: int) -> None:
        self.answers: OrderedDict[str, Answered] = OrderedDict()
        self._limit = limit
        self._rows = 0

    def keep(self, identity: str, answered: Answered) -> None:
        if identity in self.answers:
            return
        self.answers[identity] = answered
        self._rows += len(answered[1])
        while self._rows > self._limit and len(self.answers) > 1:
            _, oldest = self.answers.popitem(last=False)
            self._rows -= len(oldest[1])

    def take(self, identity: str) -> Answered | None:
        answered = self.answers.pop(identity, None)
        if answered is not None:
            self._rows -= len(answered[1])
        return answered
