"""Which devices of a list have been made already, in a file beside it: so that an interrupted run goes on.

An image is noted just before it gets its name, and is made if the file of that name is the noted one: where a
run ends between the two, it is neither made again nor is another's file taken for it.

A device has one entry, for the card or the image that it was made as last: what lets a device in ends with
the next that is made for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wire.adapters.files import only_owner, write_checked
from wire.errors import SettingsError, UnavailableError


class Kind(StrEnum):
    """What a device was made as."""

    CARD = "card"
    IMAGE = "image"


@dataclass(frozen=True)
class Made:
    """What one device was made as and of, and when."""

    kind: str

    #: Of the image file.
    image_sha256: str
    #: Changes with anything that the list said of the device.
    card_digest: str
    at: str
    #: The disk, or the file's name.
    where: str
    #: Of an image that may not have its name yet.
    inode: int | None = None


class FlashRecord:
    """The file; each device is in it as soon as it has been made and proven."""

    def __init__(self, path: Path, owner: os.stat_result, made: dict[str, Made]) -> None:
        self._path = path
        self._owner = owner
        self._made = made

    def find(self, device: str, kind: Kind, image_sha256: str, card_digest: str) -> Made | None:
        """Return this very device's entry if it was made of this very image and as such a thing last."""
        made = self._made.get(device)
        wanted = (kind, image_sha256, card_digest)
        return made if made and (made.kind, made.image_sha256, made.card_digest) == wanted else None

    def add(self, device: str, made: Made) -> None:
        """Note a device; raise UnavailableError when the file cannot be written."""
        self._made[device] = made
        devices = {name: vars(one) for name, one in sorted(self._made.items())}
        data = json.dumps({"devices": devices}, indent=1).encode() + b"\n"
        try:
            write_checked(self._path, data, lambda temp: _give_away(temp, self._owner), mode=0o600)
        except OSError as error:
            raise UnavailableError(f"{self._path} cannot be written: {error.strerror}") from error


@contextmanager
def only_flash(fleet: Path) -> Iterator[None]:
    """Be the only flash of a list for the time of the block; raise UnavailableError beside another."""
    lock = fleet.with_name(f".{fleet.name}.lock")
    with only_owner(lock, "flash of this list"):
        _give_away(lock, fleet.stat())
        yield


def open_record(fleet: Path) -> FlashRecord:
    """Return the record of a list, empty if there is none; raise SettingsError for other content."""
    path, owner = fleet.with_suffix(".flashed.json"), fleet.stat()
    try:
        devices = json.loads(path.read_bytes())["devices"]
        return FlashRecord(path, owner, {name: Made(**made) for name, made in devices.items()})
    except FileNotFoundError:
        return FlashRecord(path, owner, {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(f"{path} is no record of flashed devices: move it away to begin anew") from error


def _give_away(path: Path, owner: os.stat_result) -> None:
    """Let the list's owner have `path`: cards are written with sudo, and the next flash may be without."""
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
