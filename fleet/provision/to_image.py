"""Make an image for one device: a copy of a stock image, with the device's files in its boot partition."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fleet.provision.adapters.card_image import CardImage
from fleet.provision.adapters.file_medium import FileMedium
from fleet.provision.adapters.image_copy import fill, is_copy, new_image
from fleet.provision.app import Changes
from fleet.provision.orders import Order, check_order, fulfil, is_fulfilled
from fleet.releasing import Begin
from wire.errors import SettingsError, UnavailableError


def flash_image(
    order: Order,
    image: CardImage,
    out: Path,
    begin: Begin,
    announce: Callable[[int], None] = lambda _: None,
) -> Changes:
    """Make `out` of `image`; return the files that are new in it: none when it is that device already.

    The copy gets its name when it is finished and read back, and just after `announce` was told its inode;
    `image` is only read.
    """
    _check_place(out)
    check_order(order, image)
    if out.exists():
        if out.samefile(image.path):
            raise SettingsError(f"--out {out} is the image itself, which is never changed: name another file")
        if not order.force:
            _check_earlier(order, image, out)
            return {}
    try:
        with new_image(out) as descriptor:
            fill(descriptor, image, begin(f"copying to {out.name}"))
            changes = fulfil(order, FileMedium(descriptor), image.layout.boot, str(out))
            announce(os.fstat(descriptor).st_ino)
            return changes
    except OSError as error:
        raise UnavailableError(f"{out} cannot be written: {error.strerror or error}") from error


def _check_place(out: Path) -> None:
    """Raise SettingsError where no image can be; --force would put one in the place of a disk's node."""
    if out.exists() and not out.is_file():
        raise SettingsError(f"--out {out} is no file: name the image to be made; --write-to is for cards")
    if not out.parent.is_dir():
        raise SettingsError(f"--out {out}: there is no folder {out.parent}, make it first")


def _check_earlier(order: Order, image: CardImage, out: Path) -> None:
    """Raise SettingsError unless `out` is what would be made."""
    taken = SettingsError(f"{out} is there already: name another file, or --force to write over it")
    if not is_copy(out, image):
        raise taken
    descriptor = os.open(out, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not is_fulfilled(order, FileMedium(descriptor), image.layout.boot, str(out)):
            raise taken
    finally:
        os.close(descriptor)
