"""A copy of a model that nobody can change while it is mapped.

An interpreter maps its file. Whoever writes over that file afterwards, as `cp` and `scp` do, ends the
process (SIGBUS when it gets shorter) or changes the weights. An agent's store never writes to a file
that has its name; a file that a person names on the command line may be written to at any time.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path
from typing import Final

_NAME: Final = "edgeflock-model"


def sealed_copy(model: bytes, owner_path: Path) -> SealedCopy:
    """Return a copy of `model` in memory, or `owner_path` itself where sealed memory cannot be had."""
    if not hasattr(os, "memfd_create"):  # not Linux: for trying things out
        return SealedCopy(owner_path, None)
    try:
        descriptor = _write_sealed(model)
    except OSError:  # no memory, or a limit on the size of files, which holds for this one too
        return SealedCopy(owner_path, None)
    # By the number of this process: a worker process opens it too.
    return SealedCopy(Path(f"/proc/{os.getpid()}/fd/{descriptor}"), descriptor)


def _write_sealed(model: bytes) -> int:
    descriptor = os.memfd_create(_NAME, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(model)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class SealedCopy:
    """Where the copy is, for as long as `owner` lives; further interpreters are made of it."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    def belong_to(self, owner: object) -> None:
        """Free the copy when `owner` is gone."""
        if self._descriptor is not None:
            weakref.finalize(owner, os.close, self._descriptor)

    def close(self) -> None:
        """Free the copy now: nobody came to own it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
