"""The `flash` command: arguments to a card, and what was written to lines on the screen."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.app import flash
from fleet.provision.boot_partition import BootPartition, find
from fleet.provision.render import ADDITIONS, DeviceCard
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_PASSWORD_ENV: Final = "EDGEFLOCK_WIFI_PASSWORD"  # noqa: S105  # the variable's name

_ROOT: Final = Path("fleet-state/root.json")

_EPILOG: Final = f"""\
Write a stock image (Raspberry Pi OS Trixie 64-bit, or Ubuntu Server) to a card, mount its first
partition, and turn it into a device:

  edgeflock flash --boot /media/$USER/bootfs --device kitchen-1 --broker 192.168.1.10 \\
      --root fleet-state/root.json --ssh-key ~/.ssh/id_ed25519.pub

With Wi-Fi; the password comes from the environment or a file, never from the command line, where every
program on this computer could read it:

  {_PASSWORD_ENV}=... edgeflock flash --boot /media/$USER/bootfs --device kitchen-1 \\
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
    here = _this_computer()
    parser.add_argument(
        "--boot", type=Path, required=True, metavar="FOLDER", help="the mounted boot partition"
    )
    parser.add_argument(
        "--device", required=True, metavar="NAME", help="the device's name, unique in the fleet"
    )
    parser.add_argument(
        "--broker",
        default=here,
        metavar="HOST",
        help=f"as the device sees it (default: this computer, {here})",
    )
    parser.add_argument("--port", type=int, metavar="N", help="of the broker (with --ca 8883, else 1883)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the broker's CA: speak TLS with it")
    parser.add_argument(
        "--claim", type=Path, metavar="FILE", help="a token of `fleet enroll` for this device; needs --ca"
    )
    parser.add_argument(
        "--claim-port", type=int, default=8884, metavar="N", help="of the broker (default: 8884)"
    )
    parser.add_argument("--model", default="digits", metavar="NAME", help="what it runs (default: digits)")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--root",
        type=Path,
        default=_ROOT,
        metavar="FILE",
        help=f"the fleet's root.json, from `edgeflock fleet init` (default: {_ROOT})",
    )
    trust.add_argument(
        "--unsigned", action="store_true", help="believe without signatures, on a network that you trust"
    )
    parser.add_argument(
        "--ssh-key", type=Path, metavar="FILE", help="public key of who may log in, as `fleet`"
    )
    parser.add_argument("--wifi-ssid", metavar="SSID", help="name of the wireless network")
    parser.add_argument("--wifi-country", metavar="CC", help="whose radio rules apply, such as DE")
    parser.add_argument(
        "--wifi-password-file", type=Path, metavar="FILE", help=f"its password (default: ${_PASSWORD_ENV})"
    )
    parser.add_argument("--force", action="store_true", help="write to a folder of any content")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Flash, and tell what was written and what to do next."""
    card = _card(args)
    boot = MountedFolder(args.boot)
    written = flash(boot, card, force=args.force)
    for name in written:
        print(f"wrote {args.boot / name}")
    if not written:
        print(f"nothing to write: {args.boot} is {card.name} already")
    _print_gaps(boot)
    broker = f"{card.broker_host}:{card.broker_port}"
    print(f"next: eject the card and start {card.name} with it; it will look for the broker at {broker}")
    return 0


def _card(args: argparse.Namespace) -> DeviceCard:
    return DeviceCard(
        name=args.device,
        broker_host=args.broker,
        broker_port=args.port or (8883 if args.ca else 1883),
        model=args.model,
        root=None if args.unsigned else _root(args.root),
        ssh_key=_first_line("--ssh-key", args.ssh_key) if args.ssh_key else None,
        wifi_ssid=args.wifi_ssid,
        wifi_password=_password(args),
        wifi_country=args.wifi_country,
        broker_ca=_read("--ca", args.ca) if args.ca else None,
        claim_token=_first_line("--claim", args.claim) if args.claim else None,
        claim_port=args.claim_port,
    )


def _root(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"no root of trust in {path}: name the fleet's root.json with --root "
            "(`edgeflock fleet init` makes it), or say --unsigned"
        ) from error


def _password(args: argparse.Namespace) -> str | None:
    """Return the Wi-Fi password; an exported variable does not count for a card without Wi-Fi."""
    if args.wifi_password_file:
        return _first_line("--wifi-password-file", args.wifi_password_file)
    if args.wifi_ssid is None:
        return None
    password = os.environ.get(_PASSWORD_ENV)
    if not password:
        raise SettingsError(f"--wifi-ssid needs a password: set {_PASSWORD_ENV} or give --wifi-password-file")
    return password


def _first_line(option: str, path: Path) -> str:
    lines = _read(option, path).splitlines()
    return lines[0] if lines else ""


def _read(option: str, path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{option} {path}: {error}") from error


def _print_gaps(boot: BootPartition) -> None:
    """Tell what the card lacks and the device will have to do without or bring itself."""
    for name in ADDITIONS.values():
        if not find(boot, name):
            print(f"note: no {name} there, so its additions (firmware-config/boot) were left out")
    if not any(name.startswith("edgeflock/wheels/") for name in boot.names()):
        print("note: no wheels in edgeflock/wheels, so the first boot needs the package index")


def _this_computer() -> str:
    """Return a name under which other devices on the network may find this computer (multicast DNS)."""
    name = socket.gethostname()
    return name if "." in name else f"{name}.local"
