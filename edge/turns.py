"""Whose turn it is where models of one device stand in line. Pure.

Rules:
- two errands have a line each: the download (one at a time, so that a slow link brings one model whole
  and not all of them half) and the trial with its swap (one candidate at a time: a small board has memory
  for no more). An undo needs no download, so it never waits for one;
- first come, first served. Who stands in front has the turn, whether it has noticed yet or not;
- nobody stands in line who does not want to go: a model that is paused, blocked, or waits after a failure
  steps out, and begins again at the end. Each errand has a deadline (edge/lifecycle.py), so nobody waits
  for ever.

What is asked again while it waits keeps its place only as long as it wants the same errand.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from edge.lifecycle import Cause, State


class Errand(StrEnum):
    DOWNLOAD = "download"
    TRIAL = "trial"


#: What a choice needs before it can be followed.
NEEDS: Final[Mapping[Cause, Errand]] = {Cause.WANTED: Errand.DOWNLOAD, Cause.ON_DISK: Errand.TRIAL}

#: The errand that a model in one of these states is on.
_ON: Final[Mapping[State, Errand]] = {
    State.SPACE: Errand.DOWNLOAD,
    State.DOWNLOAD: Errand.DOWNLOAD,
    State.VERIFY: Errand.DOWNLOAD,
    State.STAGE: Errand.TRIAL,
    State.SHADOW: Errand.TRIAL,
    State.SWAP: Errand.TRIAL,
}


class Turns:
    """The lines of one device, for all of its models."""

    def __init__(self) -> None:
        self._lines: dict[Errand, list[str]] = {errand: [] for errand in Errand}

    def first(self, errand: Errand) -> str | None:
        """Return the model whose turn it is."""
        line = self._lines[errand]
        return line[0] if line else None

    def stand(self, errand: Errand, model: str) -> None:
        """Let `model` stand in the line, at the end if it is not there yet."""
        line = self._lines[errand]
        if model not in line:
            line.append(model)

    def leave(self, model: str, *, but: Errand | None = None) -> None:
        """Let `model` step out of all lines but one."""
        for errand, line in self._lines.items():
            if errand is not but and model in line:
                line.remove(model)


class Place:
    """Where one model stands. `moved` is told each of its transitions."""

    def __init__(self, turns: Turns, model: str) -> None:
        self._turns = turns
        self._model = model
        self._waits_for: Errand | None = None

    @property
    def up(self) -> bool:
        """Whether the turn that the model waits for has come."""
        return self._waits_for is not None and self._turns.first(self._waits_for) == self._model

    @property
    def waits(self) -> bool:
        """Whether it stands in a line behind others."""
        return self._waits_for is not None and not self.up

    def ask(self, errand: Errand) -> str | None:
        """Ask for a turn; return None if it has come, otherwise whose it is now."""
        self._turns.stand(errand, self._model)
        first = self._turns.first(errand)
        self._waits_for = None if first == self._model else errand
        return None if first == self._model else first

    def moved(self, before: State, after: State) -> None:
        """Step out of the lines in which a model in `after` has no business."""
        if (before, after) == (State.WAIT_TURN, State.CHECK):
            return  # whether it goes on, waits on or steps out is decided there
        if after is not State.WAIT_TURN:
            self._waits_for = None
        self._turns.leave(self._model, but=_ON.get(after) or self._waits_for)

    def step_out(self) -> None:
        """Let others pass: nothing can be done now."""
        self._waits_for = None
        self._turns.leave(self._model)
