"""`edgeflock fleet group | pin | unpin`: which devices a plan is for, and which follow none."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from rich.table import Table

from fleet.adapters.assignment import Assigned, Assignment
from fleet.adapters.terminal import make_console
from fleet.assigning import EVERYONE, by_group
from fleet.opened_fleet import OpenedFleet, opened_fleet
from fleet.rollout_cli import AddPart
from wire.errors import SettingsError
from wire.messages import Desired

_GROUP_HELP = """\
Says which devices belong together: `fleet push --to GROUP` then reaches these and no others. A device may
be in several groups, and follows the newest plan of any of them; every one is in `all`. Devices that are
still to come may be named: they find their groups when they first connect.

example:
    edgeflock fleet group add lab pi-1 pi-2
    edgeflock fleet group remove lab pi-1
    edgeflock fleet group list
"""

_PIN_HELP = """\
Has one device run one release, whatever is planned for its groups, until `fleet unpin`. The release must
have been pushed once and be signed still; as long as it is pinned it stays so. Without arguments it shows
which pins there are.

example:
    edgeflock fleet pin pi-1 digits/1
    edgeflock fleet pin
"""

_UNPIN_HELP = """\
Has a device follow the plans of its groups again.

example:
    edgeflock fleet unpin pi-1 digits
"""

#: Names of devices in one line of a table or note; of more a count must do.
_NAMED: Final = 12


def add_parts(add: AddPart) -> None:
    """Add the subcommands."""
    _add_group(add("group", "say which devices belong together", _GROUP_HELP, _run_list))
    pin = add("pin", "have one device run one release", _PIN_HELP, _run_pin)
    pin.add_argument("device", nargs="?", metavar="DEVICE", help="the device")
    pin.add_argument("release", nargs="?", metavar="MODEL/VERSION", help="a release that was pushed")
    unpin = add("unpin", "have a device follow the plans again", _UNPIN_HELP, _run_unpin)
    unpin.add_argument("device", metavar="DEVICE", help="the device")
    unpin.add_argument("model", metavar="MODEL", help="the model that was pinned")


def _add_group(group: argparse.ArgumentParser) -> None:
    actions = group.add_subparsers(dest="action", metavar="add|remove|list", required=True)
    for name, summary in (("add", "put devices into a group"), ("remove", "take devices out of it")):
        action = actions.add_parser(name, help=summary)
        action.add_argument("group", metavar="GROUP", help="the group; it is there while it has a device")
        action.add_argument("devices", metavar="DEVICE", nargs="+", help="one or several")
        action.set_defaults(run=partial(_run_members, name))
    show = actions.add_parser("list", help="show the groups and their devices")
    show.add_argument("--json", action="store_true", help="print JSON")
    for action in actions.choices.values():  # may stand behind the action too
        action.add_argument("--state", type=Path, default=argparse.SUPPRESS, help="the fleet's folder")


def _run_members(action: str, arguments: argparse.Namespace) -> int:
    with opened_fleet(arguments.state) as fleet, fleet.registry.transaction():
        assignment = _assignment(fleet)
        change = assignment.add if action == "add" else assignment.remove
        made = change(arguments.group, arguments.devices)
        act = "add to group" if action == "add" else "remove from group"
        fleet.audit.add_command(act, (f"{device}: {arguments.group}" for device in made.changed))
    if made.changed:
        words = "joined" if action == "add" else "left"
        print(f"{arguments.group}: {words} by {_names(made.changed)}")
    else:
        there = "in it already" if action == "add" else "not in it"
        print(f"nothing to do: {_names(arguments.devices)} {there}")
    _note_unseen(made)
    return 0


def _run_list(arguments: argparse.Namespace) -> int:
    with opened_fleet(arguments.state) as fleet:
        registry = fleet.registry
        awaited = registry.devices.awaited()
        groups = by_group(d for d in registry.desired().values() if d.device not in awaited or _assigned(d))
    if arguments.json:
        told = {
            group: [{"device": device, "seen": device not in awaited} for device in members]
            for group, members in groups.items()
        }
        print(json.dumps(told, indent=2))
        return 0
    table = Table("group", "devices", "seen", "which")
    for group, members in groups.items():
        seen = sum(device not in awaited for device in members)
        table.add_row(group, str(len(members)), str(seen), _names(members))
    make_console().print(table if groups else f"no device yet: each is in {EVERYONE} when it first reports")
    return 0


def _assigned(desired: Desired) -> bool:
    """Return whether somebody still means this device: a misspelt name that was taken back is not shown."""
    return bool(desired.pins) or desired.groups != (EVERYONE,)


def _run_pin(arguments: argparse.Namespace) -> int:
    if arguments.device is None:
        return _list_pins(arguments.state)
    if arguments.release is None:
        raise SettingsError(
            f"which release for {arguments.device}? `edgeflock fleet pin DEVICE MODEL/VERSION`"
        )
    with opened_fleet(arguments.state) as fleet, fleet.registry.transaction():
        made = _assignment(fleet).pin(arguments.device, arguments.release)
        fleet.audit.add_command("pin", (f"{device}: {arguments.release}" for device in made.changed))
        refusing = arguments.device in fleet.reader.blocking(arguments.release)
    pinned = f"{arguments.device}: {arguments.release} is pinned"
    print(pinned if made.changed else f"nothing to do: {pinned} already")
    _note_unseen(made)
    if refusing:
        print(
            f"note: {arguments.device} blocked it before and will refuse it; push it with --retry first",
            file=sys.stderr,
        )
    return 0


def _list_pins(state: Path) -> int:
    with opened_fleet(state) as fleet:
        desired = sorted(fleet.registry.desired().items())
    pins = [(device, release) for device, wanted in desired for release in wanted.pins.values()]
    for device, release in pins:
        print(f"{device} {release}")
    if not pins:
        print("no pins: every device follows the plans of its groups")
    return 0


def _run_unpin(arguments: argparse.Namespace) -> int:
    with opened_fleet(arguments.state) as fleet, fleet.registry.transaction():
        made = _assignment(fleet).unpin(arguments.device, arguments.model)
        fleet.audit.add_command("unpin", (f"{device}: {arguments.model}" for device in made.changed))
    model = arguments.model
    if made.changed:
        print(f"{arguments.device}: {model} follows the plans again")
    else:
        print(f"nothing to do: {arguments.device} has no pin of {model}")
    return 0


def _assignment(fleet: OpenedFleet) -> Assignment:
    return Assignment(fleet.database, fleet.registry, fleet.signed)


def _note_unseen(made: Assigned) -> None:
    if made.unseen:
        print(f"note: not seen yet: {_names(made.unseen)}", file=sys.stderr)


def _names(devices: Iterable[str]) -> str:
    names = list(devices)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
