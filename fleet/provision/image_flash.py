"""`flash --image`: one device, into a copy of an image or onto a card."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fleet.adapters.terminal import steps_shown
from fleet.provision.adapters.card_image import CardImage, open_image
from fleet.provision.adapters.file_medium import FileMedium
from fleet.provision.adapters.fleet_desk import FleetDesk, Identity
from fleet.provision.adapters.linux_disks import LinuxDisks, check_system
from fleet.provision.adapters.package_folder import read_packages
from fleet.provision.boot_partition import BootPartition, find
from fleet.provision.card import DeviceCard
from fleet.provision.card_options import card_of, desk_of
from fleet.provision.disk_rules import Disk, show_size
from fleet.provision.formats import ADDITIONS
from fleet.provision.inventory import Entry
from fleet.provision.orders import Order, check_order, open_boot
from fleet.provision.reader import CardReader
from fleet.provision.to_image import flash_image
from wire.adapters.files import as_text
from wire.errors import SettingsError


def run(args: argparse.Namespace) -> int:
    """Make one device of an image, and tell what was written and what to do next."""
    order = order_of(args)
    image = open_image(args.image)
    return _run_out(args.out, order, image) if args.out else _run_write(args, order, image)


def order_of(args: argparse.Namespace) -> Order:
    """Return the one device that the options describe, to be let into the fleet when it is written."""
    desk, card = desk_of(args), card_of(args)
    if card.broker_ca and not (card.claim_token or desk.mints or args.identity == Identity.NONE):
        raise SettingsError(
            "TLS needs a claim token: --claim FILE, or the fleet's --state, which makes one "
            "(--identity none goes without)"
        )
    [order] = make_orders(desk.settle([Entry(card)], "--device"), desk, args)
    return order


def make_orders(entries: list[Entry], desk: FleetDesk, args: argparse.Namespace) -> list[Order]:
    """Return the devices of a list as orders."""
    packages = read_packages(args.packages) if args.packages else {}

    def order(entry: Entry) -> Order:
        return Order(entry.card, lambda: desk.issue(entry).card, args.force, args.system, packages)

    return [order(entry) for entry in entries]


def make_reader(args: argparse.Namespace) -> CardReader:
    """Return the card reader that the options name; it asks a person before it erases a card."""
    check_system()
    protected = [args.state, args.image, *([args.fleet] if args.fleet else [])]

    def confirm(disk: Disk) -> None:
        if not args.yes:
            ask(disk)

    return CardReader(LinuxDisks(protected), args.write_to, args.force, confirm)


def print_gaps(boot: BootPartition) -> None:
    """Tell what the card lacks and the device will have to do without or bring itself."""
    for name in ADDITIONS.values():
        if not find(boot, name):
            print(f"note: no {name} there, so its additions (firmware-config/boot) were left out")
    if not any(name.endswith((".whl", ".deb")) for name in _packages_of(boot)):
        print("note: no wheels in edgeflock/wheels (--packages), so the first boot needs the package index")


def _packages_of(boot: BootPartition) -> list[str]:
    return [*boot.names("edgeflock/wheels"), *boot.names("edgeflock")]


def print_next(card: DeviceCard, step: str) -> None:
    """Tell what a person does next."""
    print(f"next: {step}; it will look for the broker at {card.broker_host}:{card.broker_port}")


def eject(reader: CardReader, disk: Disk) -> str:
    """Have the reader let go of the card; return what to tell about it."""
    if reader.disks.eject(disk):
        return f"take the card out of {disk.path}"
    return f"everything is on the card: take it out of {disk.path}"


def _run_out(out: Path, order: Order, image: CardImage) -> int:
    with steps_shown(in_bytes=True) as begin:
        written = flash_image(order, image, out, begin)
    shown, name = as_text(out), order.card.name
    if written:
        print(f"wrote {shown}: {as_text(image.path.name)} and {len(written)} files for {name}, read back")
    else:
        print(f"nothing to do: {shown} is {name} already")
    descriptor = os.open(out, os.O_RDONLY | os.O_CLOEXEC)
    try:
        print_gaps(open_boot(FileMedium(descriptor), image.layout.boot, str(out)))
    finally:
        os.close(descriptor)
    print_next(order.card, f"write {shown} to a card, with no further settings, and start {name} with it")
    return 0


def _run_write(args: argparse.Namespace, order: Order, image: CardImage) -> int:
    reader = make_reader(args)
    check_order(order, image)
    reader.ask(image)
    disk = reader.get_ready(image)
    with steps_shown(in_bytes=True) as begin:
        written = reader.flash(order, image, disk, begin)
    stock, name = as_text(image.path.name), order.card.name
    print(f"wrote {disk.path}: {stock} and {len(written)} files for {name}, read back")
    with reader.disks.peek(disk) as medium:
        print_gaps(open_boot(medium, image.layout.boot, disk.path))
    print_next(order.card, f"{eject(reader, disk)}, and start {name} with it")
    return 0


def ask(disk: Disk) -> None:
    """Have a person type the disk's name; raise SettingsError for anything else."""
    print(f"everything on {disk.path} ({disk.model}, {show_size(disk.size_bytes)}) will be erased")
    if sys.stdin is None or not sys.stdin.isatty():
        raise SettingsError("there is nobody to ask: --yes says that it is the right disk")
    try:
        typed = input(f"type {disk.name} to go on: ").strip()
    except EOFError:  # Ctrl-D
        typed = ""
    if typed != disk.name:
        raise SettingsError(f"{typed!r} is not {disk.name!r}: nothing was written")
