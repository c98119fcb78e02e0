"""A Raspberry Pi 4 that is not there: Debian for ARM with our package in it, under qemu.

- `scripts/ensure-arm` unpacks the Debians into a cache; each board is a copy of one, with the package on top.
- No root, no chroot and no binfmt: the board's `python3` is a script of the host's that starts qemu, so that
  children of a child run too. Sockets are the host's. Times mean nothing.
- What the processor is, the board's own /proc/cpuinfo says. Without it ai-edge-litert 2.2 and later reads the
  host's and dies, under qemu 7.2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from fleet.packages.targets import TARGETS, Target

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeflock" / "arm"
MODEL: Final = "Raspberry Pi 4 Model B Rev 1.2"
_QEMU: Final = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}
#: Not qemu's default, which has every extension: under its 7.2 int8 models of ai-edge-litert then answer
#: nonsense. No Raspberry Pi has what that takes.
_CPU: Final = {"arm64": "cortex-a72", "armhf": "cortex-a15"}
_FEATURES: Final = {
    "arm64": "fp asimd evtstrm crc32 cpuid",
    "armhf": "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32",
}
_PYTHON: Final = """\
#!/bin/sh
export PYTHONHOME={root}/usr QEMU_CPU={cpu}
exec {qemu} {options} -L {root} -0 "$0" {root}/usr/bin/python{version} "$@"
"""


def need_arm(target: str) -> None:
    """Skip the test where this machine cannot run the target."""
    missing = [p for p in (_QEMU[TARGETS[target].architecture], "dpkg-deb") if shutil.which(p) is None]
    if not (CACHE / target).is_dir():
        missing.append(str(CACHE / target))
    if missing:
        pytest.skip(f"no {', '.join(missing)}: scripts/ensure-arm brings it")


@dataclass(frozen=True)
class ArmBoard:
    """A board that stands in a folder."""

    root: Path
    target: Target

    @property
    def python(self) -> Path:
        return self.root / "opt/edgeflock/venv/bin/python3"

    @property
    def command(self) -> list[str]:
        """Our command, as a host starts it."""
        return [str(self.python), str(self.python.with_name("edgeflock"))]

    def run(
        self, *arguments: str | Path, path: tuple[Path, ...] = (), cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python on the board to its end; `path` is looked at before the package."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env=os.environ | ({"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {}),
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )


def stand_board(root: Path, target: Target, deb: Path) -> ArmBoard:
    """Unpack a Debian package on a fresh board."""
    system = CACHE / target.name
    # Where root made it, there are device files: /dev/full would be read for ever.
    devices = {str(system): {"dev"}}
    shutil.copytree(system, root, symlinks=True, ignore=lambda folder, _: devices.get(folder, set()))
    subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    part = f"Features\t: {_FEATURES[target.architecture]}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    part += "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    tree = root / "sys/firmware/devicetree/base"
    tree.mkdir(parents=True)
    (tree / "model").write_text(f"{MODEL}\0")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("".join(f"processor\t: {n}\n{part}" for n in range(4)))
    (root / "proc/device-tree").symlink_to("../sys/firmware/devicetree/base")
    board = ArmBoard(root, target)
    board.python.unlink()  # it leads to /usr/bin/python3, and the host would follow it to its own
    libraries = root / "usr/lib/arm-linux-gnueabihf"  # where the host's alternatives would link them
    options = f"-E LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack" if target.provided else ""
    qemu, cpu = _QEMU[target.architecture], _CPU[target.architecture]
    text = _PYTHON.format(root=root, qemu=qemu, cpu=cpu, options=options, version=target.python_name)
    board.python.write_text(text)
    board.python.chmod(0o755)
    return board
