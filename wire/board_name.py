"""Names that a board's serial number is a part of: what both the hub and the device make of `pi-{serial}`.

Rules:
- a serial number is the 16 hexadecimal digits, in lower case, that a Raspberry Pi says of itself; what
  has fewer digits (32-bit kernels of old boards, labels) is filled up with zeros, as its firmware does;
- never a machine id: an image that was copied has the same, a root file system in memory a new one each time.
"""

from __future__ import annotations

import re
from typing import Final

from wire.errors import SettingsError

_SERIAL: Final = "{serial}"
_DIGITS: Final = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{8,16})")


def has_serial(name: str) -> bool:
    """Return whether the board's serial number is a part of `name`."""
    return _SERIAL in name


def with_serial(name: str, serial: str) -> str:
    """Return `name` with the board's serial number in its place."""
    return name.replace(_SERIAL, serial)


def no_serial() -> str:
    """Say that this board tells no serial number; it takes the place of what reads one."""
    raise SettingsError("device.name asks for {serial}, but this board tells none: write the name out")


def check_serial(text: str) -> str:
    """Return a serial number in its one form; raise SettingsError for what can be none."""
    found = _DIGITS.fullmatch(text.strip())
    if not found or not found[1].strip("0"):
        raise SettingsError(f"serial {text!r}: use the 8 to 16 hexadecimal digits of /proc/cpuinfo")
    return found[1].lower().zfill(16)
