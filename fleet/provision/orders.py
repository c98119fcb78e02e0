"""One device to be made, and how its files get into a boot partition that nobody has mounted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fleet.provision.adapters.card_image import CardImage
from fleet.provision.adapters.file_medium import FileMedium
from fleet.provision.app import Changes, flash, pending, verify
from fleet.provision.boot_partition import BootPartition
from fleet.provision.card import DeviceCard
from fleet.provision.fat_volume import FatVolume, open_fat
from fleet.provision.medium import Medium
from fleet.provision.partitions import Partition
from fleet.provision.systems import Os
from wire.errors import UnavailableError

#: What `issue` adds takes less than these, its lines in device.toml too: a token, or a key and certificate.
_ISSUED_BYTES: Final = {"edgeflock/claim-token": 1 << 10, "edgeflock/identity.pem": 4 << 10}


@dataclass(frozen=True)
class Order:
    """A device to be made."""

    #: As it is known before; what is made for one card only (a claim, a key) may still be missing.
    card: DeviceCard
    #: Makes the card whole, just before it is written: what it makes may end what was made before.
    issue: Callable[[], DeviceCard]
    #: Whether to write to a boot partition of any content.
    force: bool = False
    #: What the image holds; None: what it shows.
    system: Os | None = None
    #: What the device installs without a network: place on the boot partition -> content.
    packages: Mapping[str, bytes] = field(default_factory=dict)

    def pending(self, boot: BootPartition) -> Changes:
        """Return what is to be written to `boot`, without what `issue` adds, for which there is room too."""
        return pending(
            boot,
            self.card,
            force=self.force,
            system=self.system,
            packages=self.packages,
            reserved=_ISSUED_BYTES,
        )

    def write(self, boot: BootPartition) -> Changes:
        """Issue the card and write it to `boot`; return what changed."""
        self.pending(boot)  # what is issued for nothing ends what a working device has
        card = self.issue()
        return flash(boot, card, force=self.force, system=self.system, packages=self.packages)


def check_order(order: Order, image: CardImage) -> None:
    """Raise an error for an order that `image` cannot serve, before it is copied anywhere.

    A packed image is not looked into: that would take as long as unpacking it.
    """
    if image.is_packed:
        return
    descriptor = os.open(image.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        order.pending(open_boot(FileMedium(descriptor), image.layout.boot, str(image.path)))
    finally:
        os.close(descriptor)


def fulfil(order: Order, medium: Medium, boot: Partition, where: str) -> Changes:
    """Write the device's files to the partition `boot` of `medium`; return those that changed, read back."""
    changes = order.write(open_boot(medium, boot, where))
    medium.forget()
    verify(open_boot(medium, boot, where), changes)
    return changes


def is_fulfilled(order: Order, medium: Medium, boot: Partition, where: str) -> bool:
    """Say whether `fulfil` would change nothing."""
    return not order.pending(open_boot(medium, boot, where))


def holds(medium: Medium, boot: Partition, files: Changes) -> bool:
    """Say whether `files` are what the partition `boot` has under their names."""
    volume = open_boot(medium, boot, "the card")
    return all(volume.read(name) == data for name, data in files.items())


def open_boot(medium: Medium, boot: Partition, where: str) -> FatVolume:
    """Return the boot partition; raise UnavailableError where it cannot be read."""
    try:
        return open_fat(medium, boot, where, datetime.now())  # FAT knows no zones
    except OSError as error:
        raise UnavailableError(f"cannot read {where}: {error.strerror or error}") from error
