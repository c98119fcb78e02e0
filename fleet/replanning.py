"""What an operator does to a rollout that stands: pause, resume, abort and undo, as pure functions.

Rules:
- nothing is taken back: each step is a new plan with a higher sequence, because a device that is off
  sees only what is retained when it wakes;
- an abort is final: what goes on after it is a new push;
- an undo returns to the release that was planned before, and once more to the one before that: it never
  leads back to what was undone, nor to a rollout that was aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from wire.errors import UnavailableError
from wire.messages import Plan
from wire.wave import takes_part


@dataclass(frozen=True)
class Entry:
    """A plan with the sequence of the one that an undo of it returns to; None: there was none."""

    plan: Plan
    before: int | None = None


#: Finds an earlier plan of the same group and model by its sequence.
Earlier = Callable[[int], Entry | None]


def restate(standing: Entry, state: str, sequence: int) -> Entry | None:
    """Return the same rollout as plan `sequence` in `state`; None when it is in that state already.

    Raises UnavailableError for a rollout that was aborted.
    """
    plan = standing.plan
    if plan.state == state:
        return None
    if plan.state == "abort":
        raise UnavailableError(f"{plan.release} was aborted in {plan.group}: push it again to go on")
    return replace(standing, plan=replace(plan, state=state, sequence=sequence))


def undo(standing: Entry, earlier: Earlier, members: Iterable[str], sequence: int) -> Entry:
    """Return the plan `sequence` that leads `members` back to the release before the one that stands.

    Whoever took part in what is undone takes part in the way back, besides the wave of old: with 10 % of
    one release and another 10 % of the next, some would keep what was undone.
    Raises UnavailableError when no other release was planned before.
    """
    undone = [standing.plan]
    entry = _before(standing, earlier)
    while entry.plan.release == standing.plan.release or entry.plan.state == "abort":
        undone.append(entry.plan)
        entry = _before(entry, earlier)
    there = entry.plan
    returning = tuple(
        device
        for device in members
        if any(takes_part(plan, device) for plan in undone) and not takes_part(there, device)
    )
    back = replace(there, state="run", sequence=sequence, canaries=(*there.canaries, *returning), retry=0)
    return Entry(back, entry.before)


def way_back(standing: Entry, earlier: Earlier) -> Plan | None:
    """Return the plan that an undo would return to, None where there is none."""
    entry: Entry | None = standing
    while entry is not None and (entry.plan.release == standing.plan.release or entry.plan.state == "abort"):
        entry = earlier(entry.before) if entry.before is not None else None
    return entry.plan if entry is not None else None


def _before(entry: Entry, earlier: Earlier) -> Entry:
    found = earlier(entry.before) if entry.before is not None else None
    if found is None:
        plan = entry.plan
        raise UnavailableError(f"no other release of {plan.model} was planned for {plan.group} before")
    return found
