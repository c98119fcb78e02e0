"""The port to a boot partition: few small files in folders, read and replaced whole.

What a device is told is decided without knowing where its bytes lie: in a mounted folder, or in a FAT
file system inside an image or on a disk that nobody has mounted. The adapters are in `adapters/`.

Rules:
- A name is 'cmdline.txt' or 'edgeflock/wheels/x.whl': folders and file, separated by '/'.
- Names are found in any case, as FAT does; what is written anew gets the case it was given.
- `write` replaces a file wholly or not at all, and makes its folders. A partition without enough room for
  the new file beside the old one refuses it before anything is changed.
- A partition that cannot be read or written raises OSError, with its errno (ENOSPC: full, EIO: pulled).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

#: What FAT's long names can hold, but for a dot or a space at the end, which it loses. 127 characters are at
#: most 254 UTF-16 units, of its 255; names of wheels have more than 100.
_PART: Final = re.compile(
    r'[^/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]{0,126}[^/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff. ]'
)

#: The most clusters that a new entry makes its folder grow by: its slots at 16 to a cluster.
GROWTH_CLUSTERS: Final = 2


class BootPartition(Protocol):
    """The first partition of a card, or of an image for one."""

    @property
    def where(self) -> str:
        """What people call it, for messages: the folder, or the image."""

    def read(self, name: str) -> bytes | None:
        """Return the content of the file `name`, or None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Make `data` the content of the file `name`."""

    def remove(self, name: str) -> None:
        """Remove the file `name` where there is one."""

    def names(self, folder: str = "") -> list[str]:
        """Return what is in `folder` (nothing where there is no such folder), sorted; folders end in '/'."""

    def free_bytes(self) -> int:
        """Return how much more data fits."""

    def needed_bytes(self, sizes: Mapping[str, int]) -> int:
        """Return how much of the free bytes it takes at most to write files of such sizes.

        Raises OSError (ENOSPC) where a folder cannot grow to hold their entries.
        """

    def flush(self) -> None:
        """Return when everything written is on the medium."""


class FakeBootPartition:
    """A boot partition in memory, with room for so many bytes: as strict as the real ones."""

    def __init__(self, files: Mapping[str, bytes] | None = None, *, room_bytes: int = 1 << 28) -> None:
        self.files = {check_file_name(name): data for name, data in (files or {}).items()}
        self.where = "a fake"
        self._room_bytes = room_bytes

    def read(self, name: str) -> bytes | None:
        return self.files.get(self._known(name))

    def write(self, name: str, data: bytes) -> None:
        if len(data) > self.free_bytes():
            raise OSError(errno.ENOSPC, "No space left on device", name)
        self.files[self._known(name)] = data

    def remove(self, name: str) -> None:
        self.files.pop(self._known(name), None)

    def names(self, folder: str = "") -> list[str]:
        start = f"{folder}/".casefold() if folder else ""
        below = [name[len(start) :] for name in self.files if name.casefold().startswith(start)]
        return sorted({name.partition("/")[0] + "/" * ("/" in name) for name in below})

    def free_bytes(self) -> int:
        return self._room_bytes - sum(map(len, self.files.values()))

    def needed_bytes(self, sizes: Mapping[str, int]) -> int:
        return sum(sizes.values())

    def flush(self) -> None:
        """Nothing is elsewhere."""

    def _known(self, name: str) -> str:
        """Return `name` in the case in which it and its folders are there."""
        parts = check_file_name(name).split("/")
        for count in range(len(parts), 0, -1):
            start = "/".join(parts[:count])
            for known in self.files:
                found = "/".join(known.split("/")[:count])
                if found.casefold() == start.casefold():
                    return "/".join([found, *parts[count:]])
        return name


def check_file_name(name: str) -> str:
    """Return `name` if every boot partition can hold it; raise ValueError otherwise."""
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name!r} cannot be a file on a boot partition")
    return name


def clusters_needed(sizes: Mapping[str, int], cluster_bytes: int, is_there: Callable[[str], bool]) -> int:
    """Return how many clusters files of such sizes take at most, and their folders for the entries.

    What they replace is not taken for free: it goes away only when the new file is there.
    """
    parts = [name.split("/") for name in sizes]
    paths = {"/".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}
    new = sum(not is_there(path) for path in paths)
    return sum(-(-size // cluster_bytes) for size in sizes.values()) + GROWTH_CLUSTERS * new


def find(boot: BootPartition, name: str) -> list[str]:
    """Return where the system keeps its file `name`; since 25.10 Ubuntu has cmdline.txt in `current`."""
    return [path for path in (name, f"current/{name}") if boot.read(path) is not None]
