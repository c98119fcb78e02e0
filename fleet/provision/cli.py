"""The `flash` command: where a device's files go, and what was written as lines on the screen."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.provision import fleet_flash, image_flash
from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.card_options import PASSWORD_ENV, add_card_options
from fleet.provision.image_flash import order_of, print_gaps, print_next
from wire.adapters.files import as_text
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG: Final = f"""\
From a stock image (Raspberry Pi OS, or Ubuntu Server), straight onto a card; the image may be packed (.xz):

  edgeflock flash --image raspios.img.xz --write-to /dev/sdX --device kitchen-1 --broker 192.168.1.10 \\
      --root fleet-state/root.json --ssh-key ~/.ssh/id_ed25519.pub

Into a copy of the image instead, which any tool can write to a card; needs no rights at all:

  edgeflock flash --image raspios.img.xz --out kitchen-1.img --device kitchen-1 ...

One card after the other for all devices of a list; or one image for each. Both go on where they were ended:

  edgeflock flash --image raspios.img.xz --write-to /dev/sdX --fleet devices.csv ...
  edgeflock flash --image raspios.img.xz --out images --fleet devices.csv ...

Onto a card that has an image already, and is mounted:

  edgeflock flash --boot /media/$USER/bootfs --device kitchen-1 ...

With Wi-Fi; the password comes from the environment or a file, never from the command line, where every
program on this computer could read it:

  {PASSWORD_ENV}=... edgeflock flash ... --wifi-ssid "My network" --wifi-country DE

The image itself is only read. A card's user-data, meta-data and network-config are replaced, and so are
settings made in Raspberry Pi Imager; cmdline.txt and config.txt are added to. Flashing twice changes
nothing but the claim token or certificate, where the fleet makes them: each flash has its own.
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], _version: str = "") -> None:
    """Add `flash` to the command line; every command is handed the version, and this one needs none."""
    parser = commands.add_parser(
        "flash",
        help="turn a card, or an image for one, into a device of the fleet",
        description="Write one device's settings, service and first-boot steps to a card or into an image.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--boot", type=Path, metavar="FOLDER", help="a mounted boot partition to write to")
    source.add_argument("--image", type=Path, metavar="FILE", help="a stock image to begin with; only read")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--out", type=Path, metavar="FILE", help="make this image of it; with --fleet, a folder of images"
    )
    target.add_argument(
        "--write-to", type=Path, metavar="DISK", help="write it to this card, such as /dev/sdX; erases it"
    )
    parser.add_argument(
        "--fleet", type=Path, metavar="CSV", help="all devices of this list, instead of --device"
    )
    parser.add_argument(
        "--packages",
        type=Path,
        metavar="FOLDER",
        help="wheels or .deb files to be installed from the card, for places without a network",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before a card is erased")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write to a boot partition of any content, over an image, to a disk that cannot be taken out",
    )
    add_card_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Flash, and tell what was written and what to do next."""
    if args.device is None and args.fleet is None:
        raise SettingsError("say which device it becomes: --device NAME, or --fleet CSV for all of a list")
    if args.device is None:
        args.device = "pi-{serial}"  # what a list's rows without an id are called
    if args.image is None:
        if args.out or args.write_to or args.fleet:
            raise SettingsError("--out, --write-to and --fleet go with --image, not with --boot")
        return _flash_folder(args)
    if args.out is None and args.write_to is None:
        raise SettingsError("say where the image goes: --out FILE or --write-to DISK")
    return fleet_flash.run(args) if args.fleet else image_flash.run(args)


def _flash_folder(args: argparse.Namespace) -> int:
    order = order_of(args)
    boot = MountedFolder(args.boot)
    changes = order.write(boot)
    for name, data in changes.items():
        print(f"{'removed' if data is None else 'wrote'} {as_text(args.boot / name)}")
    if not changes:
        print(f"nothing to write: {as_text(args.boot)} is {order.card.name} already")
    print_gaps(boot)
    print_next(order.card, f"eject the card and start {order.card.name} with it")
    return 0
