"""What takes long and is the same for all: made once in a run of the tests, however many workers share it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this process's own with what `make` puts into one.

    One worker makes it while the others wait, and each takes a copy, since tests write beside what they use.
    """
    own = factory.mktemp(name)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(own)
        return own
    shared = factory.getbasetemp().parent / name
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            make(own)
            shutil.copytree(own, shared.with_suffix(".new"))
            shared.with_suffix(".new").rename(shared)
            return own
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return own
