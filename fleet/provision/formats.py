"""One card in the words of each system's first boot: which templates, and which values go into them. Pure.

Rules:
- the same card says the same in all formats: host name, the user `fleet` without a password, its SSH key,
  the Wi-Fi, and that `first-boot.sh` is to be started. What installs the runtime is in there, once;
- a passphrase stands in cloud-init's file only, because WPA3 needs it. The others take the key that follows
  from it for one network (IEEE 802.11i, PBKDF2): 64 digits, which need no quoting and open nothing else;
- a network's name that is not plain goes as bytes where a system would mangle it: raspberrypi-sys-mods
  writes it into a NetworkManager file unquoted, and rpi-preseed's parser knows few escapes.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

from fleet.provision.card import DeviceCard
from fleet.provision.render import Value, bare, fill, quoted
from fleet.provision.systems import Os
from wire.board_name import has_serial
from wire.errors import SettingsError

#: Template -> where its text goes on the boot partition, whatever the system.
FILES: Final[Mapping[str, str]] = {
    "device/device.toml.in": "edgeflock/device.toml",
    "systemd/edgeflock.service": "edgeflock/edgeflock.service",
    "boot/edgeflock-first-boot.service": "edgeflock/edgeflock-first-boot.service",
    "boot/first-boot.sh": "edgeflock/first-boot.sh",
}
_CLOUD_INIT: Final[Mapping[str, str]] = {
    "boot/network-config.in": "network-config",
    "boot/user-data.in": "user-data",
    "boot/meta-data.in": "meta-data",
}
#: And for one system only.
FIRST_BOOT: Final[Mapping[Os, Mapping[str, str]]] = {
    Os.TRIXIE: _CLOUD_INIT,
    Os.UBUNTU: _CLOUD_INIT,
    Os.BOOKWORM: {"boot/firstrun.sh.in": "firstrun.sh"},
    Os.BOOKWORM_TOML: {"boot/custom.toml.in": "custom.toml", "boot/firstrun-only.sh": "firstrun.sh"},
    Os.PRESEED: {"boot/rpi-preseed.toml.in": "rpi-preseed.toml"},
}
#: Template -> the file of the system to which its text is added. cmdline.txt is last, and written last:
#: what it says is what makes a device look at the other files.
ADDITIONS: Final[Mapping[str, str]] = {
    "boot/config-additions.txt": "config.txt",
    "boot/cmdline-additions.txt": "cmdline.txt",
}
TEMPLATES: Final = tuple(
    dict.fromkeys([*FILES, *(name for files in FIRST_BOOT.values() for name in files), *ADDITIONS])
)
#: What no system has but by a flash, and a card may lack; what is left of an earlier one is removed.
OWN: Final = (
    *(f"edgeflock/{name}" for name in ("root.json", "authorized_keys", "broker-ca.pem")),
    *("edgeflock/claim-token", "edgeflock/identity.pem", "firstrun.sh", "custom.toml"),
)
#: What cloud-init does once per instance; these cannot hold the id that is computed from them.
_INSTANCE: Final = ("boot/user-data.in", "boot/network-config.in")

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.]([A-Za-z0-9 _.-]*[A-Za-z0-9_.-])?")
_PLAIN_COMMENT: Final = re.compile(r"[A-Za-z0-9@._-]*")


def render(templates: Mapping[str, str], card: DeviceCard, system: Os) -> dict[str, str]:
    """Return the device's own files: path on the boot partition -> text.

    Raises SettingsError for a template that is missing, or that asks for what the card cannot say.
    """
    return _render(templates, card, system, {**FILES, **FIRST_BOOT[system]}, quoted) | _given(card)


def render_additions(templates: Mapping[str, str], card: DeviceCard, system: Os) -> dict[str, str]:
    """Return what to add to the system's own files, for `append_cmdline` and `append_config`."""
    return _render(templates, card, system, ADDITIONS, bare)


def wifi_key(ssid: str, password: str) -> str:
    """Return the 64 digits of the key that WPA2 makes of a passphrase for one network."""
    if len(password) == 64:
        return password.lower()
    return hashlib.pbkdf2_hmac("sha1", password.encode(), ssid.encode(), 4096, 32).hex()


def _given(card: DeviceCard) -> dict[str, str]:
    """Return what the card carries as it is, beside the settings that name it."""
    root = {} if card.root is None else {"edgeflock/root.json": card.root}  # signed: byte for byte
    given = {
        "authorized_keys": card.ssh_key,
        "broker-ca.pem": card.broker_ca,
        "claim-token": card.claim_token,
        "identity.pem": card.identity,
    }
    return root | {
        f"edgeflock/{name}": f"{text.strip()}\n" for name, text in given.items() if text is not None
    }


def _render(
    templates: Mapping[str, str],
    card: DeviceCard,
    system: Os,
    targets: Mapping[str, str],
    write: Callable[[str], str],
) -> dict[str, str]:
    missing = [name for name in TEMPLATES if name not in templates]
    if missing:
        raise SettingsError(f"template {missing[0]} is missing from firmware-config")
    values = _values(card, system)
    values["instance_id"] = _instance(templates, values) if system.reads_cloud_init else None
    return {
        target: fill(name, templates[name], values, shlex.quote if ".sh." in name else write)
        if name.endswith((".in", ".txt"))
        else templates[name]
        for name, target in targets.items()
    }


def _instance(templates: Mapping[str, str], values: Mapping[str, Value]) -> str:
    """Return an id that changes with anything cloud-init does at a first boot, and with nothing else.

    Slow on purpose: the id is in /proc/cmdline, where any program on the device could try passwords on it.
    """
    first_boot = "".join(fill(name, templates[name], values, quoted) for name in _INSTANCE)
    return f"edgeflock-{hashlib.pbkdf2_hmac('sha256', first_boot.encode(), b'edgeflock', 100_000, 6).hex()}"


def _values(card: DeviceCard, system: Os) -> dict[str, Value]:
    """Return what templates may ask for. None is for `@if`: the card, or the system, has no such thing."""
    by_board = has_serial(card.name)
    values: dict[str, Value] = {
        **asdict(card),
        "hostname": card.hostname,
        "tags": card.tags or None,
        "unsigned": None if card.root else 1,
        "named_by_board": 1 if by_board else None,
        "named_here": None if by_board else 1,
        "firstrun": 1 if system.runs_firstrun else None,
        "ssh_key_plain": _plain_key(card.ssh_key) if card.ssh_key else None,
    }
    if card.wifi_ssid is None or card.wifi_password is None:
        return values | dict.fromkeys(("wifi_key", "wifi_ssid_hex", "wifi_ssid_keyfile"))
    name = card.wifi_ssid.encode()
    return values | {
        "wifi_key": wifi_key(card.wifi_ssid, card.wifi_password),
        "wifi_ssid_hex": name.hex(),
        "wifi_ssid_keyfile": card.wifi_ssid if _PLAIN.fullmatch(card.wifi_ssid) else _listed(name),
    }


def _listed(name: bytes) -> str:
    """Return a network's name as the bytes that nm-settings-keyfile(5) allows in the place of a text."""
    return "".join(f"{byte};" for byte in name)


def _plain_key(key: str) -> str:
    """Return an SSH key without a comment that a simple parser might stumble over."""
    kind, data, *comment = key.split(" ", 2)
    return " ".join([kind, data, *(text for text in comment if _PLAIN_COMMENT.fullmatch(text))])
