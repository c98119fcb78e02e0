"""Devices to be flashed, and what a stock image has on its boot partition."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleet.provision.boot_partition import FakeBootPartition
from fleet.provision.card import DeviceCard

SSID: Final = 'Café "5G" \\ 👨‍👩‍👧'
KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx1 me@desk # mine"
CMDLINE: Final = "console=serial0,115200 console=tty1 root=PARTUUID=1-02 rootwait\n"
CONFIG: Final = "dtparam=audio=on\n\n[pi4]\nmax_framebuffers=2\n"
ROOT_JSON: Final = '{"signed": {"_type": "root"}, "signatures": []}'
CA: Final = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
TOKEN: Final = "a-claim-token-of-the-tests"  # of the tests

PLAIN: Final = DeviceCard("kitchen-1", "192.168.1.10", "digits")
FULL: Final = DeviceCard(
    "Kitchen_1",
    "hub.local",
    "digits",
    ssh_key=KEY,
    wifi_ssid=SSID,
    wifi_password='pa"ss: #1\\n',
    wifi_country="DE",
    tags=("site=lab", 'a "quoted" one'),
)
LOCKED: Final = DeviceCard("kitchen-1", "hub.local", "digits", 8883, broker_ca=CA, claim_token=TOKEN)

_ISSUE: Final = (
    "Raspberry Pi reference {date}\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen\n"
)
_SYSTEM: Final = {"cmdline.txt": CMDLINE, "config.txt": CONFIG}
TRIXIE: Final = _SYSTEM | {
    "issue.txt": _ISSUE.format(date="2025-12-04"),
    "initramfs8": "",
    "user-data": "#cloud-config\n",
    "meta-data": "instance_id: rpios-image\n",
}
BOOKWORM: Final = _SYSTEM | {
    "issue.txt": _ISSUE.format(date="2025-05-13"),
    "initramfs8": "",
    "cmdline.txt": CMDLINE.rstrip() + " init=/usr/lib/raspberrypi-sys-mods/firstboot\n",
}
BULLSEYE: Final = _SYSTEM | {"issue.txt": _ISSUE.format(date="2023-05-03"), "kernel8.img": ""}
UBUNTU: Final = {
    "config.txt": "os_prefix=current/\n",
    "current/cmdline.txt": CMDLINE,
    "user-data": "#cloud-config\n",
    "meta-data": "instance-id: nocloud\n",
    "network-config": "version: 2\n",
}


def partition(files: dict[str, str]) -> FakeBootPartition:
    """Return a boot partition with these files."""
    return FakeBootPartition({name: text.encode() for name, text in files.items()})


def lay(folder: Path, files: dict[str, str]) -> Path:
    """Write these files into a new folder, as a mounted boot partition has them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
