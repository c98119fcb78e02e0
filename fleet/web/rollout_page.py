"""Rollouts: how far each is, and what may be done to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.progress import STANDINGS, Part, Rollout

#: What each act is called, what it does, and the plan's states in which it can be done.
ACTS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "pause": (
        "Pause",
        "Downloads stop within a second and keep what they have; devices that wait go on waiting.",
        ("run",),
    ),
    "resume": ("Resume", "The rollout goes on; downloads fetch only what they lack.", ("pause",)),
    "abort": (
        "Abort",
        "The rollout ends for good. Devices that have the release keep it; to go on it must be pushed again.",
        ("run", "pause"),
    ),
    "undo": (
        "Undo",
        "The release that was planned before becomes the plan again. A device holds it on its disk.",
        ("run", "pause", "abort"),
    ),
}

_STATE_WORDS: Final = {"run": "running", "pause": "paused", "abort": "aborted"}
_TOLD: Final = 40


@dataclass(frozen=True)
class Step:
    """How many devices are in one standing; `x` and `width` of its piece of the bar in per cent."""

    standing: str
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class RolloutView:
    """One rollout, ready to be read. `sequence` is that of the plan that is shown."""

    group: str
    model: str
    release: str
    state: str
    wave: str
    sequence: int
    done: int
    taking_part: int
    steps: Sequence[Step]
    parts: Sequence[tuple[Part, str]]
    more: int
    acts: Sequence[tuple[str, str]]

    @property
    def finished(self) -> bool:
        return self.done == self.taking_part


def rollout_views(rollouts: Iterable[Rollout]) -> list[RolloutView]:
    """Return the rollouts, the newest first."""
    return [rollout_view(r) for r in sorted(rollouts, key=lambda r: -r.sequence)]


def rollout_view(rollout: Rollout) -> RolloutView:
    """Return what is shown of a rollout."""
    told = [part for part in rollout.parts if part.reason or part.standing in _MOVING]
    told.sort(key=lambda part: (_ORDER.index(part.standing), part.device))
    return RolloutView(
        group=rollout.group,
        model=rollout.model,
        release=rollout.release,
        state=_STATE_WORDS[rollout.state],
        wave=_wave(rollout),
        sequence=rollout.sequence,
        done=rollout.count("done"),
        taking_part=rollout.taking_part,
        steps=_steps(rollout),
        parts=[(part, _share(part)) for part in told[:_TOLD]],
        more=max(0, len(told) - _TOLD),
        acts=[(act, name) for act, (name, _, states) in ACTS.items() if rollout.state in states],
    )


_MOVING: Final = ("downloading", "trial", "probation", "refused", "silent")
_ORDER: Final = ("refused", *(s for s in STANDINGS if s != "refused"))


def _steps(rollout: Rollout) -> list[Step]:
    whole, x, steps = max(1, len(rollout.parts)), 0.0, []
    for standing in STANDINGS:
        count = rollout.count(standing)
        if count:
            width = 100 * count / whole
            steps.append(Step(standing, count, round(x, 3), round(width, 3)))
            x += width
    return steps


def _wave(rollout: Rollout) -> str:
    named = f"{len(rollout.canaries)} named" if rollout.canaries else ""
    if named and not rollout.percent:
        return f"{named} devices"
    return f"{rollout.percent:g} %" + (f" and {named}" if named else "")


def _share(part: Part) -> str:
    if not part.total_chunks:
        return ""
    return f"{part.done_chunks * 100 // part.total_chunks} %"
