"""Which devices of a list have been made already, in a file beside it: so that an interrupted run goes on.

A device has one entry, for the card or the image that it was made as last: what lets a device in ends with
the next that is made for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wire.adapters.files import write_atomic
from wire.errors import SettingsError


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


class FlashRecord:
    """The file; each device is in it as soon as it has been made and proven."""

    def __init__(self, path: Path, made: dict[str, Made]) -> None:
        self.path = path
        self._made = made

    def is_made(self, device: str, kind: Kind, image_sha256: str, card_digest: str) -> bool:
        """Say whether this very device was made of this very image, and as such a thing last."""
        made = self._made.get(device)
        wanted = (kind, image_sha256, card_digest)
        return made is not None and (made.kind, made.image_sha256, made.card_digest) == wanted

    def add(self, device: str, made: Made) -> None:
        """Note a device; raise OSError when the file cannot be written."""
        self._made[device] = made
        devices = {name: vars(one) for name, one in sorted(self._made.items())}
        write_atomic(self.path, json.dumps({"devices": devices}, indent=1).encode() + b"\n", mode=0o600)


def open_record(path: Path) -> FlashRecord:
    """Return the record in the file `path`, empty if there is none; raise SettingsError for other content."""
    try:
        devices = json.loads(path.read_bytes())["devices"]
        return FlashRecord(path, {name: Made(**made) for name, made in devices.items()})
    except FileNotFoundError:
        return FlashRecord(path, {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(f"{path} is no record of flashed devices: move it away to begin anew") from error
