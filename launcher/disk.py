"""`<state>/software`: what the launcher reads of it, and the one file that is its own.

    pointer.json         which software should run: the agent's
    starts.json          how often what was started: ours; the agent takes back, and removes it when healthy
    env/<sha256>/        an environment, complete by construction: renamed into place
    env/<sha256>/SHA256SUMS   its files, as sha256sum(1) checks them

Whatever cannot be read counts as not there: then the factory's software starts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, TypeVar

from launcher.choosing import Named, Starts
from wire.adapters.files import sync_folder, write_atomic
from wire.codec import decode, encode
from wire.errors import MessageError
from wire.software import SUMS

T = TypeVar("T")

FOLDER: Final = "software"


class Disk:
    """The software of one state folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER

    def environment(self, sha256: str) -> Path:
        return self.folder / "env" / sha256

    def named(self) -> Named:
        return _read(self.folder / "pointer.json", Named)

    def starts(self) -> Starts:
        return _read(self._starts, Starts)

    def keep(self, starts: Starts) -> None:
        """Write the counts durably; raises OSError."""
        write_atomic(self._starts, encode(starts))

    def forget_starts(self) -> None:
        """Begin to count anew, durably; raises OSError."""
        if self._starts.exists():
            self._starts.unlink()
            sync_folder(self.folder)

    def intact(self, sha256: str) -> bool:
        """Return whether each file of the environment is the one that was installed."""
        return broken_file(self.environment(sha256)) is None

    @property
    def _starts(self) -> Path:
        return self.folder / "starts.json"


def broken_file(environment: Path) -> str | None:
    """Return the first file that is missing or not as it was installed; None when there is none."""
    try:
        lines = (environment / SUMS).read_text(encoding="ascii").splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            if not _is(environment / name, digest):
                return name
    except (OSError, ValueError):
        return SUMS
    return None if lines else SUMS


def _is(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def _read(path: Path, kind: type[T]) -> T:
    try:
        return decode(kind, path.read_bytes())
    except (OSError, MessageError):
        return kind()
