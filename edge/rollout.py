"""Which release a device should run: pins, plans and waves, decided from a snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from edge.fitness import Board, unfit
from edge.lifecycle import Cause
from wire.messages import Desired, Plan, Release, Targets
from wire.wave import takes_part


@dataclass(frozen=True)
class Wishes:
    """What the server has said so far, as far as it was verified.

    `targets` holds the releases that plans and pins name. `stopped` says why nothing may be installed
    now, such as metadata that has expired; what serves goes on.
    """

    desired: Desired | None = None
    plans: tuple[Plan, ...] = ()
    targets: Targets | None = None
    stopped: str | None = None


def wishes_about(model: str, wishes: Wishes) -> Wishes:
    """Return `wishes` without the plans and releases of other models: news of those are none to this one."""
    targets = wishes.targets
    if targets is not None:
        ours = tuple(r for r in targets.releases if r.manifest.model == model)
        targets = replace(targets, releases=ours)
    return replace(wishes, plans=tuple(p for p in wishes.plans if p.model == model), targets=targets)


@dataclass(frozen=True)
class Holdings:
    """What the device has: digests of the current model, of those that failed here, and of those on disk.

    `lifted` is the sequence of the last plan that asked for another try of what failed.
    """

    current: str | None = None
    blocked: frozenset[str] = frozenset()
    on_disk: frozenset[str] = frozenset()
    board: Board = field(default_factory=Board)
    lifted: int = 0


@dataclass(frozen=True)
class Choice:
    """What to do about the wishes: the event for the state machine, and the release it is about.

    `reason` is why it is unfit; `lifts` the sequence of the plan that asks for another try, 0 for none.
    """

    cause: Cause
    release: Release | None = None
    rate_bytes_s: int | None = None
    reason: str | None = None
    lifts: int = 0


def choose(device: str, model: str, wishes: Wishes, holdings: Holdings) -> Choice:
    """Decide what `device` should do about `model`. A pin wins over every plan; the newest plan wins."""
    plan = _newest_plan(wishes, model)
    pin = wishes.desired.pins.get(model) if wishes.desired else None
    name = pin or (plan.release if plan else None)
    if name is None:
        return Choice(Cause.UP_TO_DATE)
    release = _find(wishes.targets, name)
    if release is None or release.manifest.model != model:
        return Choice(Cause.UNKNOWN_RELEASE)
    if plan and not pin and plan.bundle_sha256 != release.bundle_sha256:
        return Choice(Cause.UNKNOWN_RELEASE)
    if release.bundle_sha256 == holdings.current:
        return Choice(Cause.UP_TO_DATE, release)
    lifts = plan.retry if plan and not pin and plan.retry > holdings.lifted else 0
    if release.bundle_sha256 in holdings.blocked and not lifts:
        return Choice(Cause.BLOCKED_BEFORE, release)
    if plan and not pin:
        if plan.state != "run":
            return Choice(Cause.PAUSED, release)
        if not takes_part(plan, device):
            return Choice(Cause.NOT_OUR_WAVE, release)
    if wishes.stopped:
        return Choice(Cause.REFUSED, release)
    rate_bytes_s = plan.rate_bytes_s if plan else None
    if release.bundle_sha256 in holdings.on_disk:
        return Choice(Cause.ON_DISK, release, rate_bytes_s, lifts=lifts)
    if reason := unfit(release.manifest, holdings.board):
        return Choice(Cause.UNFIT, release, reason=reason)
    return Choice(Cause.WANTED, release, rate_bytes_s, lifts=lifts)


def _newest_plan(wishes: Wishes, model: str) -> Plan | None:
    groups: Iterable[str] = wishes.desired.groups if wishes.desired else ()
    ours = [p for p in wishes.plans if p.model == model and p.group in groups and p.state != "abort"]
    return max(ours, key=lambda p: p.sequence, default=None)


def _find(targets: Targets | None, name: str) -> Release | None:
    releases = targets.releases if targets else ()
    return next((r for r in releases if r.name == name), None)
