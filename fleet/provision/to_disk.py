"""Write an image to a card, prove that the card holds it, and make it one device.

Rules:
- What was read from the image is compared with what comes back from the card itself, by digest, chunk by
  chunk: a card that is broken, or smaller than it says, is told by the place where it goes wrong.
- The device's files are written last, and read back too. A card that was pulled out before is no device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.provision.adapters.card_image import CardImage
from fleet.provision.app import Changes
from fleet.provision.disk_rules import Disk
from fleet.provision.medium import Medium
from fleet.provision.orders import Order, fulfil
from fleet.releasing import Begin
from wire.blob import Told
from wire.errors import UnavailableError


def flash_disk(order: Order, image: CardImage, medium: Medium, disk: Disk, begin: Begin) -> Changes:
    """Make `disk`, open as `medium`, the device of `order`; return the device's files."""
    written = write_image(image, medium, disk, begin("writing"))
    check_image(written, medium, disk, begin("verifying"))
    return fulfil(order, medium, image.layout.boot, disk.path)


def write_image(image: CardImage, medium: Medium, disk: Disk, told: Told) -> list[tuple[int, bytes]]:
    """Write `image` to the disk's beginning; return the length and digest of each chunk."""
    written: list[tuple[int, bytes]] = []
    done = 0
    for chunk in image.chunks():
        if done + len(chunk) > disk.size_bytes:  # a packed image tells its size only here
            raise UnavailableError(f"{disk.path} is too small for the image: use a larger card")
        with _told_apart(disk, "written", done):
            medium.write_at(done, chunk)
        written.append((len(chunk), hashlib.sha256(chunk).digest()))
        done += len(chunk)
        told(done, max(done, image.size_bytes))
    with _told_apart(disk, "written", done):
        medium.sync()
    return written


def check_image(written: list[tuple[int, bytes]], medium: Medium, disk: Disk, told: Told) -> None:
    """Raise UnavailableError unless the disk gives back what was `written`."""
    medium.forget()
    done, total = 0, sum(count for count, _ in written)
    for count, digest in written:
        with _told_apart(disk, "read back", done):
            data = medium.read_at(done, count)
        if hashlib.sha256(data).digest() != digest:
            raise UnavailableError(
                f"{disk.path} does not hold what was written, from {_mb(done)} on: use another card"
            )
        done += count
        told(done, total)


@contextmanager
def _told_apart(disk: Disk, act: str, done: int) -> Iterator[None]:
    """Raise UnavailableError for an error of the disk; one of the image comes from outside the block."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{disk.path} was pulled out or is broken, after {_mb(done)} were {act} "
            f"({error.strerror or error}): put a card in and flash again"
        ) from error


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
