"""The options that describe one device, and the card they make."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from fleet.provision.adapters.fleet_desk import FleetDesk, Identity, with_fleet
from fleet.provision.card import DeviceCard
from fleet.provision.systems import Os
from wire.errors import SettingsError

PASSWORD_ENV: Final = "EDGEFLOCK_WIFI_PASSWORD"  # noqa: S105  # the variable's name

_STATE: Final = Path("fleet-state")
#: ValueError is for what is not UTF-8, RuntimeError for the home of a user that there is not (~name/).
_UNREADABLE: Final = (OSError, ValueError, RuntimeError)


def add_card_options(parser: argparse.ArgumentParser) -> None:
    """Add what a device is told to the options of `parser`."""
    here = _this_computer()
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="the device's name, unique in the fleet; {serial} in it becomes the board's own",
    )
    parser.add_argument(
        "--broker",
        metavar="HOST",
        help=f"as the device sees it (default: that of `fleet init`, or this computer, {here})",
    )
    parser.add_argument("--port", type=int, metavar="N", help="of the broker (with --ca 8883, else 1883)")
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="the broker's CA: speak TLS (default: the fleet's, if any)",
    )
    parser.add_argument(
        "--claim", type=Path, metavar="FILE", help="a token of `fleet enroll` (default: one is made)"
    )
    parser.add_argument("--claim-port", type=int, metavar="N", help="of the broker (default: 8884)")
    parser.add_argument("--model", default="digits", metavar="NAME", help="what it runs (default: digits)")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--root",
        type=Path,
        metavar="FILE",
        help="the fleet's root.json, from `edgeflock fleet init` (default: that in --state)",
    )
    trust.add_argument(
        "--unsigned", action="store_true", help="believe without signatures, on a network that you trust"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=_STATE,
        metavar="FOLDER",
        help=f"the fleet's state, where it is at hand: lets devices in, keeps their ids (default: {_STATE})",
    )
    parser.add_argument(
        "--identity",
        type=_one_of(Identity),
        default=Identity.CLAIM,
        metavar=_all_of(Identity),
        help="how a device gets its certificate: by a one-time token, or made now (default: claim)",
    )
    parser.add_argument(
        "--os",
        type=_one_of(Os),
        dest="system",
        metavar=_all_of(Os),
        help="what the image holds (default: what its boot partition shows)",
    )
    parser.add_argument("--host-name", metavar="NAME", help="of the device (default: follows from its name)")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="count answers under TAG, such as site=lab",
    )
    parser.add_argument(
        "--ssh-key", type=Path, metavar="FILE", help="public key of who may log in, as `fleet`"
    )
    parser.add_argument("--wifi-ssid", metavar="SSID", help="name of the wireless network")
    parser.add_argument("--wifi-country", metavar="CC", help="whose radio rules apply, such as DE")
    parser.add_argument(
        "--wifi-password-file", type=Path, metavar="FILE", help=f"its password (default: ${PASSWORD_ENV})"
    )


def card_of(args: argparse.Namespace) -> DeviceCard:
    """Return what the options say; raise SettingsError for what cannot be."""
    card = DeviceCard(
        name=args.device,
        broker_host=_this_computer() if args.broker is None else args.broker,
        broker_port=(8883 if args.ca else 1883) if args.port is None else args.port,
        model=args.model,
        root=None if args.unsigned else _root(args.root or args.state / "root.json"),
        ssh_key=_first_line("--ssh-key", args.ssh_key) if args.ssh_key else None,
        wifi_ssid=args.wifi_ssid,
        wifi_password=_password(args),
        wifi_country=args.wifi_country,
        broker_ca=_read("--ca", args.ca) if args.ca else None,
        claim_port=8884 if args.claim_port is None else args.claim_port,
        host=args.host_name,
        tags=tuple(args.tag),
    )
    if args.identity != Identity.NONE:
        told = {"host": args.broker, "port": args.port, "claim_port": args.claim_port}
        card = with_fleet(card, args.state, **told)
    return replace(card, claim_token=_first_line("--claim", args.claim)) if args.claim else card


def desk_of(args: argparse.Namespace) -> FleetDesk:
    """Return what the fleet's state folder does for cards, if there is one."""
    return FleetDesk(args.state, args.identity)


def _one_of(kinds: type[StrEnum]) -> Callable[[str], StrEnum]:
    """Return what reads an option; argparse's own `choices` would not tell them to who wrote another."""

    def read(text: str) -> StrEnum:
        try:
            return kinds(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(kinds)}") from error

    return read


def _all_of(kinds: type[StrEnum]) -> str:
    return "{" + ",".join(kinds) + "}"


def _root(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except _UNREADABLE as error:
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
    password = os.environ.get(PASSWORD_ENV)
    if not password:
        raise SettingsError(f"--wifi-ssid needs a password: set {PASSWORD_ENV} or give --wifi-password-file")
    return password


def _first_line(option: str, path: Path) -> str:
    lines = _read(option, path).splitlines()
    return lines[0] if lines else ""


def _read(option: str, path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except _UNREADABLE as error:
        raise SettingsError(f"{option} {path}: {error}") from error


def _this_computer() -> str:
    """Return a name under which other devices on the network may find this computer (multicast DNS)."""
    name = socket.gethostname()
    return name if "." in name else f"{name}.local"
