"""The firmware of a Raspberry Pi: its register of throttling, asked as `vcgencmd get_throttled` asks.

One ioctl on /dev/vcio with the property tag "get the result of a command" and the command as text
(raspberrypi/utils, vcgencmd/vcgencmd.c): 10 us in place of a process. Two other ways are refused: the tag
0x00030046 answers the same, but whoever gives it a mask clears the bits "since its start", which the kernel's
own driver does every 2 s; and the file soc:firmware/get_throttled of older kernels said 0 where the
firmware said 0x80008 (raspberrypi/linux issue 2367).

The device file is there on a Pi alone, and needs the group `video`; otherwise nothing is known. Kernels since
the summer of 2026 have one for such commands alone (raspberrypi/linux pull request 7351), which may be given
to a service; /dev/vcio is the whole mailbox, one of whose tags runs code on the firmware's processor.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

#: The narrower one first.
_DEVICES: Final = ("dev/vcio_gencmd", "dev/vcio")
_COMMAND: Final = b"get_throttled"
_COMMAND_RESULT: Final = 0x00030080
_TEXT_BYTES: Final = 1024
#: Size, request, tag, room, length, error: 32-bit numbers; then the text, and a zero as the end.
_HEAD: Final = struct.Struct("<6I")
_END: Final = struct.Struct("<I")
#: _IOWR(100, 0, char *): the size of a pointer is part of the number, so 32 and 64 bits differ.
_PROPERTY: Final = 3 << 30 | struct.calcsize("P") << 16 | 100 << 8

#: As fcntl.ioctl with a buffer that it may change.
Ioctl = Callable[[int, int, bytearray], Any]


def read_throttled(root: Path = Path("/"), ioctl: Ioctl = fcntl.ioctl) -> int | None:
    """Return the register (Vitals.throttled says what its bits are), or None where there is none to ask."""
    file = _open(root)
    if file is None:
        return None
    try:
        message = _question()
        ioctl(file, _PROPERTY, message)
        return _answer(bytes(message))
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)


def _open(root: Path) -> int | None:
    for device in _DEVICES:
        with suppress(OSError):
            return os.open(root / device, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _question() -> bytearray:
    size = _HEAD.size + _TEXT_BYTES + _END.size
    head = _HEAD.pack(size, 0, _COMMAND_RESULT, _TEXT_BYTES, 0, 0)
    return bytearray(head + _COMMAND.ljust(_TEXT_BYTES, b"\0") + _END.pack(0))


def _answer(message: bytes) -> int | None:
    """Return the number of `throttled=0x50005`; raise ValueError for one that is none."""
    *_, error = _HEAD.unpack_from(message)
    text = message[_HEAD.size : _HEAD.size + _TEXT_BYTES].partition(b"\0")[0].decode("ascii")
    name, _, value = text.strip().partition("=")
    if error or name != "throttled":
        return None
    register = int(value, 16)
    return register if 0 <= register < 2**32 else None
