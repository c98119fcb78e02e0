"""Write one device's files to a boot partition.

Everything is rendered, and has room, before the first byte is written; each file is written wholly or not
at all, and cmdline.txt comes last: a flash that was interrupted leaves a card that still starts, and is
repeated.
One thread, the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fleet.plain_text import printable
from fleet.provision.boot_partition import BootPartition
from fleet.provision.card import DeviceCard
from fleet.provision.plan import plan, stale
from fleet.provision.systems import Os
from wire.errors import SettingsError, UnavailableError

#: Any of these makes a boot partition; the last is there once we have written to an empty one.
_MARKS: Final = ("cmdline.txt", "config.txt", "edgeflock/device.toml")

#: File -> its new content, or None where it is removed.
Changes = Mapping[str, bytes | None]

_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})
_NO_SIZES: Final[Mapping[str, int]] = MappingProxyType({})


def flash(
    boot: BootPartition,
    card: DeviceCard,
    *,
    force: bool = False,
    system: Os | None = None,
    packages: Mapping[str, bytes] = _NONE,
) -> Changes:
    """Write `packages` and the files of `card` to `boot`; return what changed, in that order.

    Raises SettingsError when `boot` does not look like a boot partition, unless `force`;
    UnavailableError when it cannot be read or written.
    """
    changes = pending(boot, card, force=force, system=system, packages=packages)
    try:
        for name, data in changes.items():
            if data is None:
                boot.remove(name)
            else:
                boot.write(name, data)
        if changes:
            boot.flush()
    except OSError as error:
        raise UnavailableError(
            f"{boot.where} is incomplete, flash it again: {error.strerror or error}"
        ) from error
    return changes


def pending(
    boot: BootPartition,
    card: DeviceCard,
    *,
    force: bool = False,
    system: Os | None = None,
    packages: Mapping[str, bytes] = _NONE,
    reserved: Mapping[str, int] = _NO_SIZES,
) -> Changes:
    """Return what `flash` would do; raise UnavailableError where that, and `reserved` by it, does not fit."""
    try:
        if not force:
            _check_boot(boot)
        files = {**packages, **plan(boot, card, system)}
        written = {name: data for name, data in files.items() if boot.read(name) != data}
        removed = stale(boot, files)
    except OSError as error:
        raise UnavailableError(f"cannot read {boot.where}: {error.strerror or error}") from error
    if written:
        _check_room(boot, {**reserved, **{name: len(data) for name, data in written.items()}})
    return {**dict.fromkeys(removed), **written}


def verify(boot: BootPartition, changes: Changes) -> None:
    """Raise UnavailableError unless `boot` reads as it was written."""
    try:
        wrong = [name for name, data in changes.items() if boot.read(name) != data]
    except OSError as error:
        raise UnavailableError(f"{boot.where} cannot be read back: {error.strerror or error}") from error
    if wrong:
        raise UnavailableError(f"{wrong[0]} does not read back as it was written: use another card")


def _check_room(boot: BootPartition, sizes: Mapping[str, int]) -> None:
    try:
        needed, free = boot.needed_bytes(sizes), boot.free_bytes()
    except OSError as error:
        raise UnavailableError(f"cannot write to {boot.where}: {error.strerror or error}") from error
    if needed > free:
        raise UnavailableError(f"{boot.where} is full: {needed:,} bytes go there, and {free:,} fit")


def _check_boot(boot: BootPartition) -> None:
    """Refuse a partition of other content; an empty one is taken."""
    # Hidden entries and this one are what desktops leave on any card they touch.
    ignored = (".", "System Volume Information/")
    found = [name for name in boot.names() if not name.startswith(ignored)]
    if not found or any(boot.read(mark) is not None for mark in _MARKS):
        return
    there = ", ".join(name.rstrip("/") for name in found[:3]) + (" and more" if len(found) > 3 else "")
    raise SettingsError(
        f"{boot.where} is not a boot partition: no cmdline.txt or config.txt, but {printable(there)}"
        " (--force writes there anyway)"
    )
