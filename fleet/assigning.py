"""What an operator changes in what one device should be: its groups and its pins, as pure functions.

Rules:
- each change is a desired state with the next sequence, since a device refuses one that is older than
  what it has seen; what is so already changes nothing, and gives None;
- every device is in EVERYONE and stays there: a fleet works before anybody has thought about groups;
- a pin names a release of its model, and wins over every plan (edge/rollout.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from wire.errors import SettingsError
from wire.messages import MAX_GROUPS, Desired

EVERYONE: Final = "all"


def newcomer(device: str) -> Desired:
    """Return what a device should be of which nobody has said anything."""
    return Desired(sequence=1, groups=(EVERYONE,), device=device)


def joined(desired: Desired, group: str) -> Desired | None:
    """Return the device as a member of `group`; raise SettingsError when it is in too many."""
    if group in desired.groups:
        return None
    if len(desired.groups) >= MAX_GROUPS:
        raise SettingsError(
            f"{desired.device} is in {MAX_GROUPS} groups, which is the most: take it out of one first"
        )
    return _next(desired, groups=(*desired.groups, group))


def parted(desired: Desired, group: str) -> Desired | None:
    """Return the device as no member of `group`."""
    if group not in desired.groups:
        return None
    return _next(desired, groups=tuple(g for g in desired.groups if g != group))


def pinned(desired: Desired, model: str, release: str) -> Desired | None:
    """Return the device with `release` for `model`, whatever is planned."""
    if desired.pins.get(model) == release:
        return None
    return _next(desired, pins={**desired.pins, model: release})


def unpinned(desired: Desired, model: str) -> Desired | None:
    """Return the device as one that follows the plans for `model`."""
    if model not in desired.pins:
        return None
    return _next(desired, pins={m: r for m, r in desired.pins.items() if m != model})


def by_group(devices: Iterable[Desired]) -> dict[str, list[str]]:
    """Return the devices of each group, by name, EVERYONE first."""
    groups: dict[str, list[str]] = {}
    for desired in devices:
        for group in desired.groups:
            groups.setdefault(group, []).append(desired.device)
    return {group: sorted(groups[group]) for group in sorted(groups, key=lambda g: (g != EVERYONE, g))}


def _next(
    desired: Desired, *, groups: tuple[str, ...] | None = None, pins: dict[str, str] | None = None
) -> Desired:
    return replace(
        desired,
        sequence=desired.sequence + 1,
        groups=desired.groups if groups is None else groups,
        pins=desired.pins if pins is None else pins,
    )
