"""How far the server's word has come on this device: no word older than that is followed again.

python-tuf keeps its own copies and refuses older ones, but it renames them without fsync: after a power
cut they may hold zeros, and then a replayed old version passes for new. This floor is written durably
before what it stands for is acted on, and compared after each refresh.

Rules:
- a role's floor holds for the keys that the role has: when a newer root (or parent) gives it others, it
  starts again at 0. Otherwise a stolen online key could raise a version so high that no honest
  successor is ever accepted (TUF specification 5.3.11, "fast-forward attack");
- the root's own floor has no such door;
- equal is no regression: the same word comes again with every connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ROOT = "root"
TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class Signed:
    """The version of a role's metadata, and a name for the set of keys that may sign it."""

    version: int
    keys: str


@dataclass(frozen=True)
class Floor:
    """What is saved. `orders` are sequences, of `desired` and of `group/model`, under `order_keys`."""

    roles: dict[str, Signed] = field(default_factory=dict)
    orders: dict[str, int] = field(default_factory=dict)
    order_keys: str = ""
    time_s: float = 0.0
    v: int = 1


class FloorError(Exception):
    """A word that is older than what this device has followed before."""


class VersionFloorError(FloorError):
    """Metadata of an older version; what the client keeps on the disk is no longer what it was."""


class SequenceFloorError(FloorError):
    """A plan, or a desired state, of an older sequence."""


def with_roles(floor: Floor, seen: Mapping[str, Signed]) -> Floor:
    """Return the floor raised to what was seen of each role; raise VersionFloorError for a regression."""
    for role, found in seen.items():
        stands = floor.roles.get(role)
        if stands is None or found.version >= stands.version:
            continue
        if role == ROOT or found.keys == stands.keys:
            raise VersionFloorError(f"{role} version {found.version}, here was {stands.version} before")
    return replace(_timed_by(floor, seen.get(TIMESTAMP)), roles={**floor.roles, **seen})


def _timed_by(floor: Floor, found: Signed | None) -> Floor:
    """Forget the saved time with the keys that vouched for it: a stolen one may have said 2099."""
    stands = floor.roles.get(TIMESTAMP)
    if found is None or stands is None or found.keys == stands.keys:
        return floor
    return replace(floor, time_s=0.0)


def with_order_keys(floor: Floor, keys: str) -> Floor:
    """Return the floor under the keys that may sign orders now; other keys start at 0."""
    return floor if floor.order_keys == keys else replace(floor, orders={}, order_keys=keys)


def with_order(floor: Floor, name: str, sequence: int) -> Floor:
    """Return the floor raised to an order's sequence; raise SequenceFloorError for an older one."""
    stands = floor.orders.get(name, 0)
    if sequence < stands:
        raise SequenceFloorError(f"sequence {sequence} of {name}, here was {stands} before")
    return floor if sequence == stands else replace(floor, orders={**floor.orders, name: sequence})
