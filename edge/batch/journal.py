"""How far a job is, and when that is brought to disk. Pure: the output and the clock are given.

A checkpoint is due after some seconds, or when so many values wait for it that they weigh on memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from edge.batch.answering import Answered, Refusal
from edge.batch.answers import Cells, count_cells
from edge.batch.job import Checkpoint, Record
from wire.deadline import Clock

#: Values that may wait for a checkpoint: as Python objects 200,000 are some 10 MB.
_MOST_WAITING: Final = 200_000


class Store(Protocol):
    """What the journal asks of an output."""

    def write(self, rows: Sequence[Cells], errors: Sequence[Refusal]) -> None:
        """Take answers and errors."""

    def commit(self, record: Record) -> Record:
        """Bring everything to disk; return the record with its ends."""


class Journal:
    """Takes what was answered, chunk by chunk in the order of the inputs."""

    def __init__(self, store: Store, record: Record, every_s: float, clock: Clock) -> None:
        self.record = record
        self._store = store
        self._every_s = every_s
        self._clock = clock
        self._waiting = 0
        self._committed_s = clock()

    def add(self, answered: Answered) -> None:
        """Write a chunk's answers, and a checkpoint when it is due."""
        self._store.write(answered.rows, answered.errors)
        self.record = replace(self.record, checkpoint=_advanced(self.record.checkpoint, answered))
        self._waiting += sum(map(count_cells, answered.rows))
        if self._waiting > _MOST_WAITING or self._clock() - self._committed_s >= self._every_s:
            self.commit()

    def commit(self, *, done: bool = False) -> None:
        """Bring everything to disk."""
        self.record = self._store.commit(
            replace(self.record, checkpoint=replace(self.record.checkpoint, done=done))
        )
        self._waiting = 0
        self._committed_s = self._clock()


def _advanced(checkpoint: Checkpoint, answered: Answered) -> Checkpoint:
    return replace(
        checkpoint,
        file=answered.after.file,
        row=answered.after.row,
        read_bytes=answered.read_bytes,
        rows=checkpoint.rows + len(answered.rows),
        bad=checkpoint.bad + len(answered.errors),
        score=checkpoint.score + answered.score,
    )
