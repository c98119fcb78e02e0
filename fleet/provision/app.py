"""Write one device's files to a boot partition.

Everything is rendered before the first byte is written, each file is written wholly or not at all, and
cmdline.txt comes last: a flash that was interrupted leaves a card that still starts, and is repeated.
One thread, the caller's.
"""

from __future__ import annotations

from typing import Final

from fleet.provision.boot_partition import BootPartition
from fleet.provision.card import DeviceCard
from fleet.provision.plan import plan, stale
from fleet.provision.systems import Os
from wire.errors import SettingsError, UnavailableError

#: Any of these makes a boot partition; the last is there once we have written to an empty one.
_MARKS: Final = ("cmdline.txt", "config.txt", "edgeflock/device.toml")


def flash(
    boot: BootPartition, card: DeviceCard, *, force: bool = False, system: Os | None = None
) -> list[str]:
    """Write the files of `card` to `boot`; return the names of those that changed, in that order.

    Raises SettingsError when `boot` does not look like a boot partition, unless `force`;
    UnavailableError when it cannot be read or written.
    """
    try:
        if not force:
            _check_boot(boot)
        files = plan(boot, card, system)
        left = stale(boot, files)
        changed = [name for name, data in files.items() if boot.read(name) != data]
    except OSError as error:
        raise UnavailableError(f"cannot read the card: {error}") from error
    try:
        for name in left:
            boot.remove(name)
        for name in changed:
            boot.write(name, files[name])
        if changed or left:
            boot.flush()
    except OSError as error:
        raise UnavailableError(f"the card is incomplete, flash it again: {error}") from error
    return changed


def _check_boot(boot: BootPartition) -> None:
    """Refuse a partition of other content; an empty one is taken."""
    # Hidden entries and this one are what desktops leave on any card they touch.
    ignored = (".", "System Volume Information/")
    found = [name for name in boot.names() if not name.startswith(ignored)]
    if not found or any(boot.read(mark) is not None for mark in _MARKS):
        return
    there = ", ".join(name.rstrip("/") for name in found[:3]) + (" and more" if len(found) > 3 else "")
    raise SettingsError(
        f"{boot.where} is not a boot partition: no cmdline.txt or config.txt, but {there}"
        " (--force writes there anyway)"
    )
