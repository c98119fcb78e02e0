"""A boot partition that the system has mounted somewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fleet.provision.boot_partition import check_file_name, clusters_needed
from wire.adapters.files import sync_folder, write_atomic
from wire.errors import SettingsError


class MountedFolder:
    """The folder where a boot partition is mounted. Raises SettingsError when there is no such folder."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder: mount the card and name its boot partition's folder")
        self.where = str(folder)
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)

    def remove(self, name: str) -> None:
        path = self._path(name)
        if path.is_file():
            path.unlink()
            sync_folder(path.parent)

    def names(self, folder: str = "") -> list[str]:
        path = self._path(folder) if folder else self._folder
        if not path.is_dir():
            return []
        return sorted(f"{entry.name}{'/' * entry.is_dir()}" for entry in path.iterdir())

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def needed_bytes(self, sizes: Mapping[str, int]) -> int:
        cluster_bytes = os.statvfs(self._folder).f_frsize
        # Each is written under another name first, so all entries are new.
        return clusters_needed(sizes, cluster_bytes, lambda _: False) * cluster_bytes

    def flush(self) -> None:
        """Bring everything to the card; `write` has done it for each file already."""
        sync_folder(self._folder)

    def _path(self, name: str) -> Path:
        return self._folder / check_file_name(name)
