"""The register as `flashed.json` in the fleet's state folder: for people to read, written whole or not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fleet.provision.register import Register
from wire.adapters.files import write_atomic
from wire.codec import decode, encode
from wire.errors import MessageError, SettingsError

_NAME: Final = "flashed.json"


class RegisterFile:
    """Reads it, and changes it under a lock: two may flash at a time."""

    def __init__(self, state: Path) -> None:
        self._path = state / _NAME
        self._lock = state / f"{_NAME}.lock"

    def read(self) -> Register:
        """Return the register; an empty one where nothing was flashed yet."""
        try:
            return decode(Register, self._path.read_bytes())
        except FileNotFoundError:
            return Register()
        except (OSError, MessageError) as error:
            raise SettingsError(f"{self._path}: {error}") from error

    def change(self, by: Callable[[Register], Register]) -> None:
        """Write what `by` makes of the register; raise SettingsError where that cannot be."""
        try:
            with self._alone():
                before = self.read()
                after = by(before)
                if after != before:
                    write_atomic(self._path, encode(after))
        except OSError as error:
            raise SettingsError(f"{self._path}: {error.strerror}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Readable, which is enough to lock it: cards are written with sudo, and the fleet's user is next.
        handle = os.open(self._lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
