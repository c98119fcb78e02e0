"""The `flash` command: arguments to a card, and what was written to lines on the screen."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.app import flash
from fleet.provision.boot_partition import BootPartition, find
from fleet.provision.card_options import PASSWORD_ENV, add_card_options, card_of, desk_of
from fleet.provision.formats import ADDITIONS
from fleet.provision.inventory import Entry
from fleet.provision.plan import plan

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG: Final = f"""\
Write a stock image (Raspberry Pi OS Trixie 64-bit, or Ubuntu Server) to a card, mount its first
partition, and turn it into a device:

  edgeflock flash --boot /media/$USER/bootfs --device kitchen-1 --broker 192.168.1.10 \\
      --root fleet-state/root.json --ssh-key ~/.ssh/id_ed25519.pub

With Wi-Fi; the password comes from the environment or a file, never from the command line, where every
program on this computer could read it:

  {PASSWORD_ENV}=... edgeflock flash --boot /media/$USER/bootfs --device kitchen-1 \\
      --wifi-ssid "My network" --wifi-country DE

The card's user-data, meta-data and network-config are replaced, and so are settings made in Raspberry Pi
Imager. cmdline.txt and config.txt are added to. Flashing twice changes nothing.
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], _version: str = "") -> None:
    """Add `flash` to the command line; every command is handed the version, and this one needs none."""
    parser = commands.add_parser(
        "flash",
        help="turn a mounted boot partition into a device of the fleet",
        description="Write one device's settings, service and first-boot steps to a mounted boot partition.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--boot", type=Path, required=True, metavar="FOLDER", help="the mounted boot partition"
    )
    add_card_options(parser)
    parser.add_argument("--force", action="store_true", help="write to a folder of any content")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Flash, and tell what was written and what to do next."""
    desk = desk_of(args)
    [entry] = desk.settle([Entry(card_of(args))])
    boot = MountedFolder(args.boot)
    plan(boot, entry.card, args.system)  # a card that cannot be written must not end an earlier token
    card = desk.issue(entry).card
    written = flash(boot, card, force=args.force, system=args.system)
    for name in written:
        print(f"wrote {args.boot / name}")
    if not written:
        print(f"nothing to write: {args.boot} is {card.name} already")
    _print_gaps(boot)
    broker = f"{card.broker_host}:{card.broker_port}"
    print(f"next: eject the card and start {card.name} with it; it will look for the broker at {broker}")
    return 0


def _print_gaps(boot: BootPartition) -> None:
    """Tell what the card lacks and the device will have to do without or bring itself."""
    for name in ADDITIONS.values():
        if not find(boot, name):
            print(f"note: no {name} there, so its additions (firmware-config/boot) were left out")
    if not any(name.endswith(".whl") for name in boot.names("edgeflock/wheels")):
        print("note: no wheels in edgeflock/wheels, so the first boot needs the package index")
