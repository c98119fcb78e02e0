"""What judges the files of a first boot: the machine's own programs, or Debian's, unpacked and not installed.

`scripts/ensure-first-boot-checks` unpacks them into a cache. There they run by chroot, as root or in a
namespace where any user is root.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

UNPACKED: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeflock" / "first-boot-checks"
)
#: Some systems leave sbin, where netplan and chroot are, out of a user's own.
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
#: Only root could make /dev/null there.
_WITH_DEVICES: Final = 'mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


@dataclass(frozen=True)
class Checker:
    """A program and a folder that it can see."""

    program: str
    folder: Path
    root: Path
    enter: tuple[str, ...] = ()

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the program to its end; a Path is told to it as it sees it."""
        told = (f"/{a.relative_to(self.root)}" if isinstance(a, Path) else a for a in arguments)
        return _run(*self.enter, self.program, *told)


@contextmanager
def checker(program: str) -> Iterator[Checker]:
    """Give the program with an empty folder; skip the test where it cannot run."""
    root = Path("/")
    enter: tuple[str, ...] = ()
    if shutil.which(program, path=_PATH) is None:
        if not UNPACKED.is_dir():
            pytest.skip(f"no {program}: scripts/ensure-first-boot-checks brings it")
        root, enter = UNPACKED, _way_in()
        if not enter:
            pytest.skip(f"no {program}, and neither chroot nor unshare leads into {UNPACKED}")
    with tempfile.TemporaryDirectory(dir=root / "tmp") as folder:
        yield Checker(program, Path(folder), root, enter)


@functools.cache
def _way_in() -> tuple[str, ...]:
    """Return the command that runs another one in the unpacked system; empty where none does."""
    for way in (("chroot",), ("unshare", "--map-root-user", "--mount", "sh", "-c", _WITH_DEVICES)):
        if _run(*way, str(UNPACKED), "shellcheck", "--version").returncode == 0:
            return *way, str(UNPACKED)
    return ()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    # Nothing else of the environment: a developer's own settings of the programs do not judge our files.
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
