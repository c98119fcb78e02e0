"""Whether software that was just started is as good as the one before it. Pure.

Rules, in the order in which they are asked:
- a model that answered before and does not answer now: not healthy, once PATIENCE_S is over;
- a report of this start that the server has acknowledged: healthy, after LEAST_S;
- no network is a normal state. So without an acknowledgement, but answering, it is healthy after
  PATIENCE_S where the link stands (the server is away), where there was no link before either, or where
  nothing answers at the broker's address (the network is away). Where the broker does answer there, and
  answered the software before, but this one has no link to it, it is the software: not healthy.

Nothing here is about crashes and hangs: those never come so far, and the launcher counts the starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.probation import Outcome

LEAST_S: Final = 5.0
PATIENCE_S: Final = 300.0


@dataclass(frozen=True)
class Situation:
    """What could be seen: the models that answer, and whether there was a link to the broker.

    Written before a switch, and compared with after it.
    """

    serving: tuple[str, ...] = ()
    linked: bool = False


@dataclass(frozen=True)
class Seen:
    """The situation now. `acknowledged`: the server has taken a report of this start; `reachable`: something
    answers at the broker's address, None while that is not known."""

    now: Situation
    acknowledged: bool
    reachable: bool | None


def judge(age_s: float, before: Situation, seen: Seen) -> Outcome | None:
    """Return the outcome `age_s` seconds after the start, None while there is none."""
    lost = sorted(set(before.serving) - set(seen.now.serving))
    if age_s < LEAST_S or (lost and age_s < PATIENCE_S):
        return None
    if lost:
        return Outcome(False, f"{', '.join(lost)} answered before, and not in {PATIENCE_S:.0f} s")
    if seen.acknowledged:
        return Outcome(True, "the server has acknowledged its reports")
    if age_s < PATIENCE_S:
        return None
    if seen.now.linked:
        return Outcome(True, "answers and has a link; the server acknowledged nothing")
    if not before.linked:
        return Outcome(True, "answers; there was no link before either")
    if seen.reachable is None:
        return None
    if not seen.reachable:
        return Outcome(True, "answers; nothing answers at the broker's address")
    return Outcome(False, f"no link in {PATIENCE_S:.0f} s to a broker that answers")
