"""`flash --image --fleet`: all devices of a list, a card or an image for each."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.table import Table

from fleet.adapters.terminal import make_console, steps_shown
from fleet.provision.adapters.card_image import CardImage, open_image
from fleet.provision.adapters.flash_record import Kind, Made, only_flash, open_record
from fleet.provision.adapters.image_copy import fill, scratch_image
from fleet.provision.card_options import card_of, desk_of
from fleet.provision.image_flash import eject, make_orders, make_reader
from fleet.provision.inventory import read_fleet
from fleet.provision.many import Item, Result, make_all
from fleet.provision.orders import check_order
from fleet.provision.to_image import flash_image
from wire.adapters.files import as_text
from wire.errors import SettingsError

#: How often a reader is looked at for the next card: a person needs longer to change it.
_POLL_S: Final = 1.0
#: How long a desktop takes to mount a card that is put in: then it is unmounted, and stays so.
_SETTLE_S: Final = 2.0

#: Makes one device, and returns where it is.
_Maker = Callable[[Item], str]


def run(args: argparse.Namespace) -> int:
    """Make every device of the list that is not made yet; return 1 if any failed."""
    desk = desk_of(args)
    entries = desk.settle(read_fleet(args.fleet, card_of(args), mints=desk.mints), str(args.fleet))
    orders = make_orders(entries, desk, args)
    items = [Item(order, entry.serial, entry.slot) for order, entry in zip(orders, entries, strict=True)]
    image = open_image(args.image)
    with only_flash(args.fleet):
        results = _make(items, image, args)
    make_console().print(_table(results))
    return 1 if any(result.problem for result in results) else 0


def _make(items: list[Item], image: CardImage, args: argparse.Namespace) -> list[Result]:
    record = open_record(args.fleet)
    sha256, kind = image.sha256(), Kind.CARD if args.write_to else Kind.IMAGE
    made = {
        item.device
        for item in items
        if (known := record.find(item.device, kind, sha256, item.digest))
        and (args.write_to or _is_there(_place(args.out, item), known))
    }

    def add(item: Item, where: str, inode: int | None = None) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record.add(item.device, Made(kind, sha256, item.digest, now, where, inode))

    def note(result: Result) -> None:
        add(result.item, result.said)

    if len(made) == len(items):  # nobody is asked, and nothing is unpacked
        maker: AbstractContextManager[_Maker] = nullcontext(_make_none)
    else:
        maker = _card_maker(args, image) if args.write_to else _image_maker(args.out, image, add)
    with maker as make:
        return make_all(items, made, make, note, _tell)


def _place(folder: Path, item: Item) -> Path:
    return folder / f"{item.device}.img"


def _is_there(image: Path, known: Made) -> bool:
    """Say whether an image is there as it is known: it may be gone, and wanted again."""
    try:
        return known.inode in (None, image.stat().st_ino)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _make_none(item: Item) -> str:
    raise AssertionError(f"{item.device} is made already")


@contextmanager
def _card_maker(args: argparse.Namespace, image: CardImage) -> Iterator[_Maker]:
    reader = make_reader(args)
    reader.ask(image)

    def make(item: Item) -> str:
        check_order(item.order, image)
        print(f"{item.label}: put its card into {args.write_to}", flush=True)
        reader.wait(image, lambda: time.sleep(_POLL_S))
        time.sleep(_SETTLE_S)
        disk = reader.get_ready(image)
        with steps_shown(in_bytes=True) as begin:
            reader.flash(item.order, image, disk, begin)
        print(f"{item.label}: {eject(reader, disk)}, and label it", flush=True)
        return disk.path

    yield make


@contextmanager
def _image_maker(
    folder: Path, image: CardImage, announce: Callable[[Item, str, int], None]
) -> Iterator[_Maker]:
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--out {folder} is no folder: with --fleet, name one for the images")
    folder.mkdir(parents=True, exist_ok=True)
    with _unpacked(image, folder) as plain:

        def make(item: Item) -> str:
            out = _place(folder, item)
            with steps_shown(in_bytes=True) as begin:
                flash_image(item.order, plain, out, begin, lambda inode: announce(item, as_text(out), inode))
            return as_text(out)

        yield make


@contextmanager
def _unpacked(image: CardImage, folder: Path) -> Iterator[CardImage]:
    """Yield `image`, unpacked for the time of the block: once, and not for each device."""
    if not image.is_packed:
        yield image
        return
    with scratch_image(folder) as (plain, descriptor):
        with steps_shown(in_bytes=True) as begin:
            fill(descriptor, image, begin(f"unpacking {image.path.name}"))
        yield open_image(plain)


def _tell(result: Result) -> None:
    print(f"{result.item.label}: {result.problem or result.said}", flush=True)


def _table(results: list[Result]) -> Table:
    table = Table(expand=False)
    for name in ("device", "serial", "slot", "result"):
        table.add_column(name, no_wrap=name != "result")
    for result in results:
        item = result.item
        table.add_row(item.device, item.serial or "", item.slot or "", result.problem or result.said)
    return table
