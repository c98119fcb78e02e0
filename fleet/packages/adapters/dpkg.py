"""dpkg-deb: a folder becomes a Debian package, as root's, without being root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from wire.errors import UnavailableError


def build(root: Path, deb: Path, *, compression: str, epoch: int) -> None:
    """Write the package `deb` from the folder `root`; the same folder gives the same bytes."""
    program = shutil.which("dpkg-deb")
    if program is None:
        raise UnavailableError("dpkg-deb is not here: install the package dpkg, or ask for --wheels only")
    # How many threads xz has would show in the bytes.
    settings = {"SOURCE_DATE_EPOCH": str(epoch), "DPKG_DEB_THREADS_MAX": "1"}
    partial = deb.with_name(f".{deb.name}.part")
    done = subprocess.run(
        [program, "--root-owner-group", f"-Z{compression}", "--build", root, partial],
        capture_output=True,
        text=True,
        env=os.environ | settings,
        check=False,
    )
    if done.returncode:
        partial.unlink(missing_ok=True)
        raise UnavailableError(f"dpkg-deb: {' '.join(done.stderr.split())[-300:]}")
    partial.replace(deb)
