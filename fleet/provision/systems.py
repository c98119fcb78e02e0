"""Which system an image holds, told from its boot partition alone, and how that one takes a first boot.

| system | how it is known | what it reads |
|---|---|---|
| Raspberry Pi OS with rpi-preseed | an `rpi-preseed.toml` is there | `rpi-preseed.toml` |
| Ubuntu | `user-data` or `meta-data`, and no `issue.txt` of pi-gen | cloud-init's three files |
| Raspberry Pi OS Trixie | the same with `issue.txt` | cloud-init's three files |
| Raspberry Pi OS Bookworm, first Trixie | `issue.txt` and `initramfs*`, no `user-data` | `firstrun.sh` |

Bookworm reads `custom.toml` as well, which is taken on demand only (decision 27). Whatever else there is,
is refused: a card whose settings nothing reads starts, and then waits for a keyboard that it does not have.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from fleet.plain_text import printable
from fleet.provision.boot_partition import BootPartition
from wire.errors import SettingsError


class Os(StrEnum):
    """A system, by the way in which it is told of its first boot."""

    TRIXIE = "raspios-trixie"
    UBUNTU = "ubuntu"
    BOOKWORM = "raspios-bookworm"
    BOOKWORM_TOML = "raspios-bookworm-toml"
    PRESEED = "raspios-preseed"

    @property
    def reads_cloud_init(self) -> bool:
        return self in (Os.TRIXIE, Os.UBUNTU)

    @property
    def runs_firstrun(self) -> bool:
        """Whether it is started by `systemd.run` in cmdline.txt."""
        return self in (Os.BOOKWORM, Os.BOOKWORM_TOML)


_CLOUD_INIT: Final = frozenset(("user-data", "meta-data"))
_OVERRIDE: Final = "name it with --os " + ", ".join(Os)


def detect_os(boot: BootPartition) -> Os:
    """Return the system on `boot`; raise SettingsError, with what was found, for one that nobody knows."""
    names = {name.casefold() for name in boot.names()}
    issue = (boot.read("issue.txt") or b"").decode("utf-8", "replace")
    if "rpi-preseed.toml" in names:
        return Os.PRESEED
    if names & _CLOUD_INIT:
        return Os.TRIXIE if "pi-gen" in issue else Os.UBUNTU
    if "pi-gen" not in issue:
        raise SettingsError(f"{boot.where}: {_found(names)}, which is no system that we know; {_OVERRIDE}")
    if not any(name.startswith("initramfs") for name in names):
        raise SettingsError(
            f"{boot.where}: Raspberry Pi OS of {_date(issue)} is older than Bookworm; write a newer image"
        )
    return Os.BOOKWORM


def _date(issue: str) -> str:
    found = re.search(r"\d{4}-\d\d-\d\d", issue)
    return found[0] if found else "an unknown date"


def _found(names: set[str]) -> str:
    seen = sorted(name.rstrip("/") for name in names if not name.startswith((".", "system volume")))
    if not seen:
        return "it is empty"
    return (
        "it has " + printable(", ".join(seen[:6])) + (f" and {len(seen) - 6} more" if len(seen) > 6 else "")
    )
