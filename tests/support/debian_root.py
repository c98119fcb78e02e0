"""A Debian system in a folder, for tests that start it: made once, kept in the user's cache.

Debian's packages are only unpacked, which takes some ten seconds of a processor; what their installation
scripts would have done and a start needs is done here. The release is the one whose Python is ours, so
that our own interpreters and wheels run in it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

#: Python -> Debian's release with it.
_RELEASES: Final = {(3, 11): "bookworm", (3, 13): "trixie"}
_PACKAGES: Final = (
    "base-files,base-passwd,bash,coreutils,dash,findutils,grep,libc-bin,libpython3-stdlib,libstdc++6,login,"
    "mount,passwd,procps,python3,sed,systemd,systemd-sysv,tar,util-linux"
)
_HOOK: Final = "/usr/share/mmdebstrap/hooks/merged-usr"
#: Another number makes it anew.
_VERSION: Final = 1


@functools.cache
def why_none() -> str | None:
    """Return why no such system can be started here; None where it can."""
    if os.geteuid() != 0:
        return "needs root: systemd-nspawn starts a system"
    missing = [name for name in ("systemd-nspawn", "mmdebstrap", "nsenter") if not shutil.which(name)]
    if missing:
        return f"{missing[0]} is not installed (make test-tools)"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this machine does not let root mount: a container without the right to it"
    if sys.version_info[:2] not in _RELEASES:
        return f"no release of Debian has Python {sys.version_info[0]}.{sys.version_info[1]}"
    return None


def debian_root() -> Path:
    """Return the folder of the system, made if it is not there; raise RuntimeError when that fails."""
    release = _RELEASES[sys.version_info[:2]]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeflock-tests"
    root = cache / f"debian-{release}-{_VERSION}"
    if root.exists():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    new = cache / f".{root.name}.{os.getpid()}"
    try:
        _unpack(release, new)
        _finish(new)
        new.rename(root)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return root


def _unpack(release: str, root: Path) -> None:
    command = [
        *("mmdebstrap", "--variant=extract", f"--hook-dir={_HOOK}", f"--include={_PACKAGES}"),
        *("--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Languages none", release, str(root)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"no Debian {release}: {done.stderr[-1000:]}")


def _finish(root: Path) -> None:
    """Do what the packages' scripts do, as far as a start needs it."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    shutil.copy(root / "usr/share/libc-bin/nsswitch.conf", root / "etc/nsswitch.conf")
    (root / "etc/machine-id").touch()  # empty: made at each start
    for name in ("sh", "awk"):
        (root / "usr/bin" / name).unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    (root / "usr/bin/awk").symlink_to("mawk")
