"""Make the devices of a list one after the other, and tell what became of each.

Rules:
- A device is done when its card or image was read back, and is noted at once: a run that was interrupted
  goes on with the next one. Another image, line in the list, system or package makes it anew.
- One that fails is told, and the next one is made: its row is tried again by the next run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property

from fleet.provision.orders import Order
from wire.errors import EdgeflockError


@dataclass(frozen=True)
class Item:
    """A line of the list."""

    order: Order
    serial: str | None = None
    slot: str | None = None

    @property
    def device(self) -> str:
        return self.order.card.name

    @cached_property
    def digest(self) -> str:
        """16 digits that change with what is written; slow, because passwords could be tried on them."""
        packages = {name: hashlib.sha256(data).hexdigest() for name, data in self.order.packages.items()}
        told = {"card": asdict(self.order.card), "system": self.order.system, "packages": packages}
        text = json.dumps(told, sort_keys=True, default=str)
        return hashlib.pbkdf2_hmac("sha256", text.encode(), b"edgeflock", 100_000, 8).hex()

    @property
    def label(self) -> str:
        """What to write on the card."""
        more = [f"{name} {value}" for name, value in (("serial", self.serial), ("slot", self.slot)) if value]
        return "  ".join([self.device, f"host {self.order.card.hostname}", *more])


@dataclass(frozen=True)
class Result:
    """What became of a line: `problem` is None where the device is made, now or by an earlier run."""

    item: Item
    said: str
    problem: str | None = None


def make_all(
    items: Iterable[Item],
    made: Collection[str],
    make: Callable[[Item], str],
    note: Callable[[Result], None],
    tell: Callable[[Result], None],
) -> list[Result]:
    """Have `make` make each device that is not `made` yet, and return its place; note and tell it at once."""
    results: list[Result] = []
    for item in items:
        if item.device in made:
            result = Result(item, "done before")
        else:
            result = _make(item, make)
            if result.problem is None:
                note(result)
        results.append(result)
        tell(result)
    return results


def _make(item: Item, make: Callable[[Item], str]) -> Result:
    try:
        return Result(item, make(item))
    except EdgeflockError as error:
        return Result(item, "failed", str(error))
    except OSError as error:
        return Result(item, "failed", f"{error.filename or 'input/output'}: {error.strerror or error}")
