"""A board for first-boot.sh: a folder for its root, stand-ins for what it has not, and power that can be cut.

The script, the shell and the file tools are the real ones. systemd, pip, apt and dpkg are stand-ins that
note what they were told, and do as much of it as the script can see: an agent that starts with a claim
token has a certificate made, a venv without the end of its pip is not whole.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Final

from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.app import flash
from fleet.provision.card import DeviceCard
from fleet.provision.systems import Os
from tests.support.cards import lay

#: Before each of these the power may go; whatever else the script calls changes nothing that stays.
_CHANGING: Final = [
    "chmod",
    "chown",
    "cp",
    "dd",
    "install",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "sync",
    "tar",
    "tee",
    "touch",
]

_BEGIN: Final = """\
#!/bin/sh
name={name}
read -r count < "$BOARD/count"
count=$((count + 1))
echo "$count" > "$BOARD/count"
[ "$count" != "$CUT" ] || kill -9 0
echo "$name $*" >> "$BOARD/steps"
case $name in systemctl|apt-get|dpkg|pip|hostnamectl) echo "$name $*" >> "$BOARD/calls" ;; esac
"""
_STAND_INS: Final = {
    "systemctl": """\
unit=$EDGEFLOCK_ROOT/etc/systemd/system/edgeflock.service
state=$EDGEFLOCK_ROOT/var/lib/private/edgeflock
case "$*" in
*restart*edgeflock.service)
  [ -e "$unit" ] && [ -e "$EDGEFLOCK_ROOT/opt/edgeflock/installed" ] && : > "$BOARD/active"
  if [ -e "$state/claim-token" ] && [ ! -e "$state/identity.pem" ] && [ ! -e "$BOARD/no-hub" ]; then
    echo "made with $(cat "$state/claim-token")" > "$state/identity.pem"
  fi ;;
*stop*edgeflock.service) rm -f "$BOARD/active" ;;
*is-active*) [ -e "$BOARD/active" ] && [ ! -e "$BOARD/broken" ] && echo active || { echo failed; exit 3; } ;;
*is-enabled*) grep -q "enable edgeflock-first-boot" "$BOARD/calls" ;;
*is-failed*) [ -e "$BOARD/broken" ] ;;
esac
""",
    "python3": """\
for last; do :; done
rm -rf "$last"; mkdir -p "$last/bin"; cp "$BOARD/bin/pip" "$last/bin/pip"
""",
    "pip": """\
case "$*" in
*--no-index*) if [ -e "$BOARD/no-fit" ]; then echo "ERROR: not a supported wheel" >&2; exit 1; fi ;;
*) if [ -e "$BOARD/no-index" ]; then echo "ERROR: no route to the index" >&2; exit 1; fi ;;
esac
case "$*" in *--dry-run*) exit 0 ;; esac
: > "$EDGEFLOCK_ROOT/opt/edgeflock/venv/whole"
""",
    "apt-get": """\
for last; do :; done
case $last in *.deb)
  mkdir -p "$EDGEFLOCK_ROOT/opt/edgeflock/venv" "$EDGEFLOCK_ROOT/usr/lib/systemd/system"
  : > "$EDGEFLOCK_ROOT/opt/edgeflock/venv/whole"
  : > "$EDGEFLOCK_ROOT/usr/lib/systemd/system/edgeflock.service"
  echo "deb" > "$EDGEFLOCK_ROOT/opt/edgeflock/installed" ;;
esac
""",
    "dpkg": '[ "$1" != --print-architecture ] || echo "${ARCHITECTURE:-arm64}"\n',
    "journalctl": 'echo "the agent said why"\n',
    "hostnamectl": 'echo "$2" > "$EDGEFLOCK_ROOT/etc/hostname"\n',
    "findmnt": 'cat "$BOARD/root-type"\n',
    "getent": 'cat "$BOARD/passwd"\n',
    "chown": "",
    "sync": "",
    "sleep": "",
}


class Board:
    """One board with a card in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.boot = self.root / "boot/firmware"
        self.state = self.root / "var/lib/private/edgeflock"
        self.errors = ""
        if not self.root.exists():
            self._make()

    def copy(self, folder: Path) -> Board:
        """Return another board that is just as this one."""
        return Board(shutil.copytree(self.folder, folder, symlinks=True))

    def _make(self) -> None:
        for place in ("etc/systemd/system", "proc", "run", "opt", "home/fleet"):
            (self.root / place).mkdir(parents=True)
        (self.root / "proc/uptime").write_text("42.17 80.00\n")
        (self.root / "etc/hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
        (self.folder / "passwd").write_text("fleet:x:1000:1000::/home/fleet:/bin/bash\n")
        (self.folder / "root-type").write_text("ext4\n")
        self._stand_in()

    def insert(self, card: DeviceCard, files: dict[str, str], system: Os | None = None) -> None:
        """Flash a card of these files for it and put it in."""
        flash(MountedFolder(lay(self.boot, files)), card, system=system)

    def run(self, command: str = "run", *, cut: int = 0, architecture: str = "arm64") -> int:
        """Run the script, with the power going before the `cut`th change. Return its exit code."""
        (self.folder / "count").write_text("0\n")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "EDGEFLOCK_ROOT": str(self.root),
            "BOARD": str(self.folder),
            "CUT": str(cut),
            "ARCHITECTURE": architecture,
        }
        arguments = ["sh", str(self.boot / "edgeflock/first-boot.sh"), command]
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=False, start_new_session=True
        )
        assert done.returncode != -signal.SIGKILL or cut
        self.errors = done.stderr
        return done.returncode

    def boot_again(self) -> int:
        """Run the script after a new start: what lay in memory is gone, and the enabled service comes up."""
        (self.root / "run/edgeflock-first-boot.tries").unlink(missing_ok=True)
        (self.folder / "active").unlink(missing_ok=True)
        if (self.root / "opt/edgeflock/installed").exists():
            self.touch("active")
        return self.run()

    @property
    def changes(self) -> int:
        """How often the power could have gone in the last run."""
        return int((self.folder / "count").read_text())

    @property
    def log(self) -> str:
        return (self.boot / "edge-firstboot.log").read_text()

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def steps(self) -> list[str]:
        return (self.folder / "steps").read_text().splitlines()

    def step(self, *words: str, after: int = 0) -> int:
        """Return which of the changes, from that one on, was the first with all of these in its command."""
        steps = enumerate(self.steps)
        return next(i for i, step in steps if i >= after and all(word in step for word in words))

    def touch(self, name: str) -> None:
        """Set a switch of the stand-ins: no-hub, no-index, no-fit or broken."""
        (self.folder / name).touch()

    def on_card(self, *secrets: str) -> list[str]:
        """Return the files of the card that hold one of these."""
        files = [path for path in self.boot.rglob("*") if path.is_file()]
        return sorted(
            path.name for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)
        )

    def _stand_in(self) -> None:
        tools = self.folder / "bin"
        tools.mkdir()
        for name in {*_CHANGING, *_STAND_INS}:
            act = _STAND_INS.get(name, f'exec {shutil.which(name)} "$@"\n')
            path = tools / name
            path.write_text(_BEGIN.format(name=name) + act)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
