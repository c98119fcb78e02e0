"""Which board has which id: what a fleet remembers of its flashes, so that a board keeps its name. Pure.

Rules:
- a serial number keeps its id, a slot (where the serial number is not known) too: a card that was lost is
  flashed again, and its device is the same one, with its history;
- a list that gives a known board another id is refused, because it is mostly a slip of rows;
- an id may come to another board: the old one broke. The old board is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.provision.inventory import Entry
from wire.errors import SettingsError


@dataclass(frozen=True)
class Flashed:
    """A device that was flashed, `flashed_s` the last time in Unix seconds."""

    device: str
    serial: str | None
    slot: str | None
    flashed_s: float


@dataclass(frozen=True)
class Register:
    """All of them, in the order of their first flash."""

    devices: tuple[Flashed, ...] = ()
    v: int = 1


def settle(register: Register, entry: Entry, origin: str) -> Entry:
    """Return `entry` under the id that its board has; raise SettingsError where its list gives another.

    `origin` names the list.
    """
    known = _known(register, entry)
    if known is None or known.device == entry.card.name:
        return entry
    if entry.named:
        what = f"serial {entry.serial}" if entry.serial else f"slot {entry.slot}"
        raise SettingsError(
            f"{origin} {entry.where}: {what} is {known.device!r} in this fleet, not {entry.card.name!r}; "
            f"write that id, or forget the board first: `edgeflock fleet remove {known.device}`"
        )
    return replace(entry, card=replace(entry.card, name=known.device))


def note(register: Register, entry: Entry, now_s: float) -> Register:
    """Return the register with the flash of `entry` in it."""
    if entry.serial is None and entry.slot is None:
        return register
    known = _known(register, entry)
    serial = entry.serial or (known.serial if known else None)
    new = Flashed(entry.card.name, serial, entry.slot, now_s)
    same = [old for old in register.devices if _same(old, new)]
    devices = [
        _without_slot(old, new.slot) if old not in same else new
        for old in register.devices
        if old not in same[1:]
    ]
    kept = tuple(device for device in devices if device.serial or device.slot)
    return replace(register, devices=kept if same else (*kept, new))


def forget(register: Register, device: str) -> Register:
    """Return the register without `device`."""
    return replace(register, devices=tuple(old for old in register.devices if old.device != device))


def _known(register: Register, entry: Entry) -> Flashed | None:
    """Return what is known of the board; by its slot only where it has no serial number."""
    if entry.serial is not None:
        return next((old for old in register.devices if old.serial == entry.serial), None)
    return next((old for old in register.devices if entry.slot and old.slot == entry.slot), None)


def _same(old: Flashed, new: Flashed) -> bool:
    return old.device == new.device or (old.serial is not None and old.serial == new.serial)


def _without_slot(old: Flashed, taken: str | None) -> Flashed:
    """Return another device, whose place is taken: its board is known by its serial number."""
    return replace(old, slot=None) if taken is not None and old.slot == taken else old
