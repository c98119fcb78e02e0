"""How far a rollout is: each device of its group counted in exactly one standing, from what was reported.

Pure. A device that is silent is neither a success nor a failure; one that has the release stays done
when it is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wire.messages import Desired, ModelState, Plan
from wire.wave import takes_part

#: What a device can be in a rollout, in the order in which a view shows them.
STANDINGS: Final = (
    "done", "probation", "trial", "downloading", "waiting", "refused", "silent", "outside", "elsewhere",
)  # fmt: skip

_IN_TRIAL: Final = ("verify", "stage", "shadow", "swap")


@dataclass(frozen=True)
class Device:
    """What the server knows of one device: the models that it reported last, and whether it is there."""

    name: str
    present: bool
    models: tuple[ModelState, ...]
    desired: Desired


@dataclass(frozen=True)
class Part:
    """One device's part in a rollout. `reason` is what it said last; chunks are those of its download."""

    device: str
    standing: str
    reason: str | None = None
    done_chunks: int = 0
    total_chunks: int = 0


@dataclass(frozen=True)
class Rollout:
    """One plan and how far each device of its group is with it."""

    group: str
    model: str
    release: str
    state: str
    percent: float
    canaries: tuple[str, ...]
    sequence: int
    parts: tuple[Part, ...] = field(default=())

    @property
    def taking_part(self) -> int:
        """How many devices the plan is for now."""
        return sum(part.standing not in ("outside", "elsewhere") for part in self.parts)

    def count(self, standing: str) -> int:
        return sum(part.standing == standing for part in self.parts)


def rollout(plan: Plan, devices: Iterable[Device], plans: Iterable[Plan]) -> Rollout:
    """Return how far `plan` is among `devices`; `plans` are all that stand, `plan` among them."""
    others = [p for p in plans if p.model == plan.model and p.state != "abort"]
    members = [device for device in devices if plan.group in device.desired.groups]
    return Rollout(
        group=plan.group,
        model=plan.model,
        release=plan.release,
        state=plan.state,
        percent=plan.percent,
        canaries=plan.canaries,
        sequence=plan.sequence,
        parts=tuple(_part(plan, device, others) for device in members),
    )


def _part(plan: Plan, device: Device, others: list[Plan]) -> Part:
    said = next((m for m in device.models if m.model == plan.model), None)
    if not _governs(plan, device.desired, others):
        return Part(device.name, "elsewhere")
    if said is not None and said.current == plan.release and said.state not in ("probation", "rollback"):
        return Part(device.name, "done")
    if plan.state == "abort" or not takes_part(plan, device.name):
        return Part(device.name, "outside")
    if not device.present:
        return Part(device.name, "silent", said.error if said and said.target == plan.release else None)
    if said is None or said.target != plan.release:
        # Without a target an error is about what it was told, and not about another release.
        return Part(device.name, "waiting", said.error if said and said.target is None else None)
    if said.state == "download":
        return Part(device.name, "downloading", said.error, said.done_chunks, said.total_chunks)
    if said.state == "blocked":
        return Part(device.name, "refused", said.error)
    if said.state == "probation":
        return Part(device.name, "probation", said.error)
    return Part(device.name, "trial" if said.state in _IN_TRIAL else "waiting", said.error)


def _governs(plan: Plan, desired: Desired, others: list[Plan]) -> bool:
    """Return whether the device follows this plan: no pin, and no newer one of another of its groups."""
    if desired.pins.get(plan.model, plan.release) != plan.release:
        return False
    newest = max((p.sequence for p in others if p.group in desired.groups), default=plan.sequence)
    return newest <= plan.sequence


def as_json(rollout: Rollout) -> Mapping[str, object]:
    """Return a rollout for scripts: the plan, the counts, and each device."""
    return {
        "group": rollout.group,
        "model": rollout.model,
        "release": rollout.release,
        "state": rollout.state,
        "percent": rollout.percent,
        "canaries": list(rollout.canaries),
        "sequence": rollout.sequence,
        "taking_part": rollout.taking_part,
        "counts": {standing: rollout.count(standing) for standing in STANDINGS},
        "devices": [vars(part) for part in rollout.parts],
    }
