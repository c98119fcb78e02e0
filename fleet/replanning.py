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
from typing import Final

from wire.errors import UnavailableError
from wire.messages import Plan
from wire.wave import takes_part


@dataclass(frozen=True)
class Entry:
    """A plan with the sequence of the one that an undo of it returns to; None: there was none."""

    plan: Plan
    before: int | None = None


_EVERYBODY: Final = 100.0

#: Finds an earlier plan of the same group and model by its sequence.
Earlier = Callable[[int], Entry | None]


def restate(standing: Entry, state: str, sequence: int, *, retry: bool = False) -> Entry | None:
    """Return the same rollout as plan `sequence` in `state`; None when it is in that state already.

    With `retry` it is tried once more where it was blocked. Raises UnavailableError for a rollout that was
    aborted.
    """
    plan = standing.plan
    if plan.state == state and not retry:
        return None
    if plan.state == "abort":
        raise UnavailableError(f"{plan.release} was aborted in {plan.group}: push it again to go on")
    asked = sequence if retry else plan.retry
    return replace(standing, plan=replace(plan, state=state, sequence=sequence, retry=asked))


def undo(
    standing: Entry, earlier: Earlier, members: Iterable[str], sequence: int, *, retry: bool = False
) -> Entry:
    """Return the plan `sequence` that leads `members` back to a release before the one that stands.

    With `retry` that one is tried once more where it was blocked.

    To the newest that was planned for all who took part in what is undone: a release for one canary must
    not come to everybody. Where there never was such a plan, to the one before, and whoever took part in
    what is undone takes part in the way back.
    Raises UnavailableError when no other release was planned before.
    """
    members, undone = tuple(members), [standing.plan]
    nearest: Entry | None = None
    entry: Entry | None = standing
    while (entry := _earlier(entry, earlier)) is not None:
        there = entry.plan
        if _leads_back(there, standing.plan):
            affected = [d for d in members if any(takes_part(plan, d) for plan in undone)]
            if all(takes_part(there, device) for device in affected):
                return _planned_again(entry, (), sequence, retry=retry)
            nearest = nearest or entry
        undone.append(there)
    if nearest is None:
        plan = standing.plan
        raise UnavailableError(f"no other release of {plan.model} was planned for {plan.group} before")
    joining = [
        d for d in members if takes_part(standing.plan, d) or _took_part(d, standing, nearest, earlier)
    ]
    returning = tuple(d for d in joining if not takes_part(nearest.plan, d))
    return _planned_again(nearest, returning, sequence, retry=retry)


def ways_back(standing: Entry, earlier: Earlier) -> set[str]:
    """Return the releases that an undo of `standing` may return to, whoever the members are."""
    found: set[str] = set()
    entry: Entry | None = standing
    while (entry := _earlier(entry, earlier)) is not None:
        if _leads_back(entry.plan, standing.plan):
            found.add(entry.plan.release)
            if entry.plan.percent >= _EVERYBODY:
                break
    return found


def _leads_back(plan: Plan, undone: Plan) -> bool:
    return plan.release != undone.release and plan.state != "abort"


def _took_part(device: str, standing: Entry, until: Entry, earlier: Earlier) -> bool:
    """Return whether a device took part in `standing`, or in one of the plans between it and `until`."""
    entry: Entry | None = standing
    while entry is not None and entry.plan.sequence != until.plan.sequence:
        if takes_part(entry.plan, device):
            return True
        entry = _earlier(entry, earlier)
    return False


def _planned_again(entry: Entry, returning: tuple[str, ...], sequence: int, *, retry: bool) -> Entry:
    plan = entry.plan
    canaries, asked = (*plan.canaries, *returning), sequence if retry else 0
    return Entry(replace(plan, state="run", sequence=sequence, canaries=canaries, retry=asked), entry.before)


def _earlier(entry: Entry | None, earlier: Earlier) -> Entry | None:
    return earlier(entry.before) if entry is not None and entry.before is not None else None
