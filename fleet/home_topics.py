"""Where a fleet stands below Home Assistant's discovery prefix, and what right the server needs for it. Pure.

An id there holds letters, digits, `_` and `-`, so every other character of a name travels as `_` and its
hexadecimal code: no two devices become one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wire.enrolment import SERVER_NAME
from wire.errors import SettingsError
from wire.topics import check_name

_UNUSABLE: Final = re.compile(r"[^A-Za-z0-9-]")


@dataclass(frozen=True)
class Home:
    """Where one fleet stands in Home Assistant: the discovery prefix, and the fleet's own."""

    prefix: str
    fleet: str

    def device_id(self, device: str) -> str:
        return f"{_escaped(self.fleet)}__{_escaped(device)}"

    def config_topic(self, device: str) -> str:
        return f"{self.prefix}/device/{self.device_id(device)}/config"

    def state_topic(self, device: str) -> str:
        return f"{self.prefix}/device/{self.device_id(device)}/state"


def topics_of(home: Home, device: str) -> tuple[str, str]:
    """Return all that is retained of a device."""
    return home.config_topic(device), home.state_topic(device)


def check_home(prefix: str) -> str:
    """Return a discovery prefix, or raise SettingsError when it cannot be one."""
    for level in prefix.split("/"):
        check_name("Home Assistant's prefix", level)
    return prefix


def home_rights(home: str) -> tuple[str, str]:
    """Return the filters below which the server writes: for the broker's access list."""
    return f"{home}/device/+/config", f"{home}/device/+/state"


def check_rights(acl: str, home: str, where: str) -> None:
    """Raise SettingsError where an access list does not let the server write below `home`."""
    lines = {line.strip() for line in acl.splitlines()}
    missing = [f"topic write {f}" for f in home_rights(home) if f"topic write {f}" not in lines]
    if missing:
        raise SettingsError(
            f"{where}: add {' and '.join(f'`{line}`' for line in missing)} under `user {SERVER_NAME}`"
        )


def _escaped(name: str) -> str:
    return _UNUSABLE.sub(lambda found: f"_{ord(found.group()):02x}", name)
