"""The Debian package: what it leaves out of the wheels, what it says of itself, what it does when installed.

- /opt/edgeflock/venv is an environment without pip: made here, for /usr/bin/python3 of the target.
- The scripts may run any number of times, with and without a running systemd (an image being built).
- `installed` is written last and removed first: the service does not start on half a runtime.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from fleet.packages.targets import Target
from fleet.software_release import AT_HOME

#: Where all of it lies; the service names it.
HOME: Final = PurePosixPath("opt/edgeflock")
VENV: Final = HOME / "venv"
UNITS: Final = PurePosixPath("usr/lib/systemd/system")

#: Folders of wheels that only development needs, wherever they are.
_FOLDERS: Final = frozenset({"tests", "test_data", "include"})
_ENDINGS: Final = (".pyi", ".pxd", ".pyx", ".a", ".c", ".h", ".f", ".f90", ".so.lib")
#: Parts that nothing on a device imports, by the beginning of their path. Without the GPU's library
#: ai-edge-litert runs models on the processor as before.
_PARTS: Final = (
    "numpy/f2py/",
    "numpy/distutils/",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "ai_edge_litert/aot/",
    "ai_edge_litert/tools/",
    *AT_HOME,
)
#: Kept of each distribution's record: what it is, its version and its licence.
_RECORDS: Final = ("RECORD", "WHEEL", "INSTALLER", "REQUESTED", "top_level.txt", "entry_points.txt", "sboms")


@dataclass(frozen=True)
class Script:
    """A file of the package that is written here."""

    text: str
    executable: bool = False


def left_out(path: PurePosixPath) -> bool:
    """Say whether the package does without this file of site-packages."""
    if _FOLDERS.intersection(path.parts[:-1]) or path.name.endswith(_ENDINGS):
        return True
    if path.parts[0].endswith(".dist-info"):
        return path.parts[1] in _RECORDS
    return str(path).startswith(_PARTS)


def deb_version(version: str, target: Target) -> str:
    """Return the package's version: a newer Debian's is the higher one, so that an upgrade takes it."""
    return f"{version}+deb{target.release}"


def deb_name(version: str, target: Target) -> str:
    return f"edgeflock_{deb_version(version, target)}_{target.architecture}.deb"


def depends(target: Target) -> str:
    """Return Depends: the Python that the wheels are for, and what has none there."""
    major, minor = target.python
    python = [f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{minor + 1})"]
    provided = [f"{package} (>= {version})" for package, version in target.provided.values()]
    return ", ".join([*python, f"libc6 (>= 2.{target.glibc})", "libstdc++6", *provided])


def control(version: str, target: Target, *, installed_bytes: int, backend: str) -> str:
    """Return the text of DEBIAN/control."""
    return "\n".join([
        "Package: edgeflock",
        f"Version: {deb_version(version, target)}",
        f"Architecture: {target.architecture}",
        "Maintainer: The Edgeflock authors <edgeflock@localhost>",
        f"Installed-Size: {math.ceil(installed_bytes / 1024)}",
        f"Depends: {depends(target)}",
        "Section: science",
        "Priority: optional",
        "Description: edge inference on a fleet of small boards: the runtime of a device",
        f" The agent and its service, with {backend} as its interpreter. Needs no network",
        " and nothing from the package index.",
        "",
    ])  # fmt: skip


def scripts(version: str, target: Target) -> dict[str, str]:
    """Return the maintainer scripts by name."""
    word = f"deb {deb_version(version, target)}"
    return {name: text.replace("@word@", word) for name, text in _SCRIPTS.items()}


def files(target: Target) -> dict[PurePosixPath, Script]:
    """Return what makes site-packages an environment with a command."""
    configuration = (
        "home = /usr/bin\n"
        f"include-system-site-packages = {'true' if target.provided else 'false'}\n"
        f"version = {target.python_name}\n"
    )
    command = f"#!/{VENV}/bin/python3\nimport sys\n\nfrom edgeflock import main\n\nsys.exit(main())\n"
    return {
        VENV / "pyvenv.cfg": Script(configuration),
        VENV / "bin/edgeflock": Script(command, executable=True),
    }


def links() -> dict[PurePosixPath, str]:
    return {VENV / "bin/python3": "/usr/bin/python3", VENV / "bin/python": "python3"}


def site_packages(target: Target) -> PurePosixPath:
    return VENV / "lib" / f"python{target.python_name}" / "site-packages"


def md5sums(contents: Mapping[str, bytes]) -> str:
    """Return what `dpkg --verify` compares the files on the device with."""
    digests = {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in contents.items()}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


# DPKG_ROOT is the root of an image that a package is installed into without chroot, and otherwise empty.
_SCRIPTS: Final = {
    # What pip installed there would otherwise lie between our files.
    "preinst": """\
#!/bin/sh
set -e
if [ "$1" = install ]; then
    rm -rf "$DPKG_ROOT/opt/edgeflock/venv"
fi
rm -f "$DPKG_ROOT/opt/edgeflock/installed"
""",
    # Byte code is in the package where the maker's Python could write it. A service that runs as nobody and
    # on a read-only root cannot keep its own, and would compile at every start.
    "postinst": """\
#!/bin/sh
set -e
case "$1" in configure | abort-*) ;; *) exit 0 ;; esac
venv=$DPKG_ROOT/opt/edgeflock/venv
if [ -z "$(find "$venv/lib" -name 'edgeflock.*.pyc')" ]; then
    "$venv/bin/python3" -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$venv/lib" || true
fi
echo "@word@" > "$DPKG_ROOT/opt/edgeflock/installed"
if command -v systemctl >/dev/null; then
    systemctl --root="$DPKG_ROOT/" enable edgeflock.service >/dev/null 2>&1 || true
fi
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # A device that was not told who it is has nothing to start yet.
    if [ -e /boot/firmware/edgeflock/device.toml ]; then
        systemctl restart --no-block edgeflock.service || true
    fi
fi
""",
    "prerm": """\
#!/bin/sh
set -e
rm -f "$DPKG_ROOT/opt/edgeflock/installed"
if [ "$1" = remove ]; then
    if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
        systemctl stop edgeflock.service || true
    fi
    if command -v systemctl >/dev/null; then
        systemctl --root="$DPKG_ROOT/" disable edgeflock.service >/dev/null 2>&1 || true
    fi
fi
# What dpkg does not know of, and the Python of an upgrade might not read.
find "$DPKG_ROOT/opt/edgeflock/venv" -name __pycache__ -type d -prune -exec rm -rf {} + || true
""",
    "postrm": """\
#!/bin/sh
set -e
if [ "$1" = remove ] || [ "$1" = purge ]; then
    rm -rf "$DPKG_ROOT/opt/edgeflock/venv"
    rmdir "$DPKG_ROOT/opt/edgeflock" 2>/dev/null || true
fi
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
""",
}
