"""Ports at any call of which a test may let the agent die, or the disk be full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class CrashError(BaseException):
    """The end of the process: nothing in the code under test catches it."""


@dataclass
class Faults:
    """What goes wrong next. `crash_in` counts port calls, each twice: before it and behind it."""

    crash_in: int | None = None
    disk_full: bool = False

    def pass_by(self) -> None:
        if self.crash_in is None:
            return
        self.crash_in -= 1
        if self.crash_in <= 0:
            self.crash_in = None
            raise CrashError


#: What needs room on the disk.
_WRITES = ("write_pointer", "reserve", "install", "write", "keep_digests", "collect")


class Fragile:
    """Passes each call on to `inner`; what `reserve` returns is fragile too."""

    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value
        return fragile(value, self._faults, full=name in _WRITES)


def fragile(call: Callable[..., Any], faults: Faults, *, full: bool = False) -> Callable[..., Any]:
    """Return `call` with the chance to die before and behind it."""

    def run(*args: Any, **kwargs: Any) -> Any:
        faults.pass_by()
        if full and faults.disk_full:
            raise OSError(28, "No space left on device")
        found = call(*args, **kwargs)
        faults.pass_by()
        return Fragile(found, faults) if call.__name__ == "reserve" else found

    return run
