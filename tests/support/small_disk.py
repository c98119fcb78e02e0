"""A disk of a few megabytes, for a device whose state lies on it."""

from __future__ import annotations

import subprocess
from pathlib import Path


class SmallDisk:
    """A file system of so many megabytes in memory. Needs root."""

    def __init__(self, mount: Path, megabytes: int) -> None:
        self.mount = mount
        mount.mkdir()
        self._do("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(mount))

    def grow(self, megabytes: int) -> None:
        """Give it room, as who tidies up does."""
        self._do("mount", "-o", f"remount,size={megabytes}m", str(self.mount))

    def remove(self) -> None:
        self._do("umount", "-l", str(self.mount))

    @staticmethod
    def _do(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)
