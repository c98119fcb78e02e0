"""Child processes: the same Python, nothing of the current folder, and none that outlives us."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `module`; start it with `python_environment`.

    -P: a file `numpy.py` in the current folder is not ours to import.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def python_environment() -> dict[str, str]:
    """Return an environment in which our packages are found, installed or not."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def tied(command: list[str], how: str = "TERM") -> list[str]:
    """Return `command` so that the kernel ends it, by signal `how`, with the thread that starts it.

    A parent that is killed cannot end its children; where setpriv (util-linux) is missing
    they outlive it.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", how, "--", *command] if setpriv else command
