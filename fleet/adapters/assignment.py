"""Carries out what an operator wants of single devices: groups and pins, each command in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.assigning import EVERYONE, joined, newcomer, parted, pinned, unpinned
from fleet.enrolment import check_device
from wire.errors import SettingsError, UnavailableError
from wire.messages import Desired
from wire.topics import check_name

#: Releases that an error tells, the newest.
_TOLD: Final = 8


@dataclass(frozen=True)
class Assigned:
    """What became of a command: devices that were changed, and those that nobody has seen yet."""

    changed: tuple[str, ...]
    unseen: tuple[str, ...]


class Assignment:
    """Changes what devices should be. `signed` tells which releases they find signed; None: nothing is."""

    def __init__(
        self, database: Database, registry: Registry, signed: Callable[[], frozenset[str]] | None = None
    ) -> None:
        self._database = database
        self._registry = registry
        self._signed = signed

    def add(self, group: str, devices: Iterable[str]) -> Assigned:
        """Make `devices` members of `group`, also those that are still to come.

        Raises SettingsError, with nothing changed, for names that cannot be and for a device in too many.
        """
        if check_name("group", group) == EVERYONE:
            raise SettingsError(f"every device is in {EVERYONE} already")
        return self._change(devices, lambda desired: joined(desired, group))

    def remove(self, group: str, devices: Iterable[str]) -> Assigned:
        """Take `devices` out of `group`; raise SettingsError when there is no such group or device."""
        if check_name("group", group) == EVERYONE:
            raise SettingsError(f"every device stays in {EVERYONE}: `edgeflock fleet revoke` shuts one out")
        with self._database.transaction():
            known = self._registry.desired()
            groups = {g for desired in known.values() for g in desired.groups}
            if group not in groups:
                raise SettingsError(f"no group {group!r}; there are: {', '.join(sorted(groups)) or 'none'}")
            return self._change(self._known(devices, known), lambda desired: parted(desired, group))

    def pin(self, device: str, release: str) -> Assigned:
        """Have `device` run `release`, whatever is planned.

        Raises SettingsError for a release that was never pushed, UnavailableError for one that is no
        longer here or signed: the device would refuse it.
        """
        model, slash, version = release.partition("/")
        check_name("model", model)
        if not slash:
            raise SettingsError(f"{release!r} names no release: write MODEL/VERSION, as in {model}/1")
        check_name("version", version)
        with self._database.transaction():
            self._check(model, release)
            return self._change([device], lambda desired: pinned(desired, model, release))

    def unpin(self, device: str, model: str) -> Assigned:
        """Have `device` follow the plans for `model` again; raise SettingsError for a device unknown here."""
        check_name("model", model)
        with self._database.transaction():
            known = self._known([device], self._registry.desired())
            return self._change(known, lambda desired: unpinned(desired, model))

    def _change(self, devices: Iterable[str], change: Callable[[Desired], Desired | None]) -> Assigned:
        names = tuple(check_device(device) for device in dict.fromkeys(devices))
        changed = []
        with self._database.transaction():
            known = self._registry.desired()
            for device in names:
                new = change(known.get(device) or newcomer(device))
                if new is not None:
                    self._registry.put_desired(new)
                    changed.append(device)
            awaited = self._registry.devices.awaited()
        return Assigned(tuple(changed), tuple(d for d in names if d in awaited))

    @staticmethod
    def _known(devices: Iterable[str], known: dict[str, Desired]) -> list[str]:
        """Return `devices`; raise SettingsError when nobody has heard of one of them."""
        names = list(devices)
        for device in names:
            if check_device(device) not in known:
                raise SettingsError(
                    f"no device {device!r} here: `edgeflock fleet devices` shows those that are"
                )
        return names

    def _check(self, model: str, release: str) -> None:
        here = [r for r in self._registry.releases() if r.manifest.model == model]
        found = next((r for r in here if r.name == release), None)
        if found is None:
            there = ", ".join(r.name for r in here[-_TOLD:]) or "none"
            raise SettingsError(f"no release {release!r} here; of {model} there are: {there}")
        again = "push its bundle again, to a group of its own (--to), and pin it then"
        if self._registry.publishable(found) is None:
            raise UnavailableError(f"{release} lacks a blob on the disk: {again}")
        if self._signed is not None and release not in self._signed():
            raise UnavailableError(f"{release} is no longer signed: {again}")
