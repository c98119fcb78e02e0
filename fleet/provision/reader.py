"""A card reader, and one card after the other in it.

A reader may show a card again that it was told to let go of. What was written to that card is still on it:
so it is known, and never becomes the next device. A card that failed must be taken out first: or it would
fail for every device of a list.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fleet.provision.adapters.card_image import CardImage
from fleet.provision.app import Changes
from fleet.provision.disk_rules import Disk, check_disk
from fleet.provision.medium import Medium
from fleet.provision.orders import Order, holds
from fleet.provision.to_disk import flash_disk
from fleet.releasing import Begin
from wire.errors import EdgeflockError, SettingsError


class Disks(Protocol):
    """What can be asked of this computer's disks, and done to them."""

    def look(self, path: Path) -> Disk:
        """Return what is known of the disk `path`; raise SettingsError for what is no disk."""

    def is_there(self, path: Path) -> bool:
        """Say whether there is a card in the reader `path`, or a disk at all."""

    def unmount(self, disk: Disk) -> None:
        """Unmount all of the disk's file systems; raise UnavailableError for one that is in use."""

    def open(self, disk: Disk) -> AbstractContextManager[Medium]:
        """Hold a disk for ourselves alone, to be read and written."""

    def peek(self, disk: Disk) -> AbstractContextManager[Medium]:
        """Open a disk to be read only."""

    def eject(self, disk: Disk) -> bool:
        """Have the reader let go of the card; return whether it said that it did."""


@dataclass
class CardReader:
    """Makes devices of the cards in one reader."""

    disks: Disks
    path: Path
    force: bool
    #: Asks a person, and raises SettingsError where that does not agree.
    confirm: Callable[[Disk], None]
    _written: Changes = field(default_factory=dict)
    _has_failed: bool = False
    _confirmed: str | None = None

    def ask(self, image: CardImage) -> None:
        """Have a person confirm the disk before the first card is written; raise SettingsError if not."""
        disk = self.disks.look(self.path)
        check_disk(disk, image.size_bytes, force=self.force)
        self.confirm(disk)
        self._confirmed = disk.reader

    def get_ready(self, image: CardImage) -> Disk:
        """Return the disk in the reader, unmounted; raise SettingsError for one that cannot be written."""
        self._has_failed = True  # until all of it has gone well
        disk = self.disks.look(self.path)
        check_disk(disk, image.size_bytes, force=self.force)
        if disk.reader != self._confirmed:  # names such as sdb wander when things are plugged in and out
            raise SettingsError(f"{disk.path} is another disk than before: {disk.model}")
        if disk.mounts:
            self.disks.unmount(disk)
        return disk

    def flash(self, order: Order, image: CardImage, disk: Disk, begin: Begin) -> Changes:
        """Make `disk` the device of `order`; return the files written."""
        with self.disks.open(disk) as medium:
            self._written = flash_disk(order, image, medium, disk, begin)
        self._has_failed = False
        return self._written

    def wait(self, image: CardImage, pause: Callable[[], None]) -> None:
        """Return when there is a card in the reader that has not been there just before."""
        while self._has_failed and self.disks.is_there(self.path):
            pause()
        while not self._has_new_card(image):
            pause()

    def _has_new_card(self, image: CardImage) -> bool:
        if not self.disks.is_there(self.path):
            return False
        try:
            is_last = bool(self._written) and self._holds_written(image)
        except (OSError, EdgeflockError):  # it has no file system yet, or was pulled out while we looked
            is_last = False
        return not is_last and self.disks.is_there(self.path)

    def _holds_written(self, image: CardImage) -> bool:
        with self.disks.peek(self.disks.look(self.path)) as medium:
            return holds(medium, image.layout.boot, self._written)
