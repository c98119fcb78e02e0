"""A small ext4 disk in a file, whose power may be cut: what the kernel had not written is gone.

A SIGKILL alone keeps the page cache, and so shows nothing about fsync.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from wire.deadline import Deadline, wait_until

_MEGABYTES = 48


class LossyDisk:
    """An image, mounted at `mount`. Needs root and loop devices; `unavailable` says whether they lack."""

    def __init__(self, image: Path, mount: Path) -> None:
        self.mount = mount
        self._image = image
        with image.open("wb") as file:
            file.truncate(_MEGABYTES << 20)
        _do("mkfs.ext4", "-q", "-F", str(image))
        mount.mkdir(exist_ok=True)
        self.attach()

    def attach(self) -> None:
        """Mount it; the journal is written every second, so that a cut finds more than an empty disk."""
        _do("mount", "-o", "loop,commit=1", str(self._image), str(self.mount))

    def detach(self) -> None:
        def done() -> bool:  # a child of a killed process may live a moment longer
            return subprocess.run(["umount", self.mount], capture_output=True, check=False).returncode == 0

        assert wait_until(done, Deadline.after(10), every_s=0.1), f"{self.mount} is busy"

    def cut_power(self, process: subprocess.Popen[bytes]) -> None:
        """End `process` and the disk with it, and mount what had reached the disk at that moment."""
        process.send_signal(signal.SIGSTOP)
        held = self._image.with_suffix(".held")
        try:
            while True:  # the journal may be written meanwhile: a copy of two moments is no disk
                shutil.copyfile(self._image, held)
                if filecmp.cmp(self._image, held, shallow=False):
                    break
        finally:
            process.kill()
            process.wait()
        self.detach()
        held.replace(self._image)
        self.attach()


def unavailable() -> str:
    """Return why such a disk cannot be had here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, to mount"
    with tempfile.TemporaryDirectory() as folder:
        try:
            LossyDisk(Path(folder, "image"), Path(folder, "mount")).detach()
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
            return f"no loop device can be mounted here: {said}"
    return ""


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
