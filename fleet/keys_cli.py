"""`edgeflock fleet keys`: the keys of a fleet; and the part of `fleet init` that makes them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from fleet.adapters.audit_log import AuditLog
from fleet.adapters.database import Database
from fleet.adapters.key_files import offline_folder, online_folder, read_keys
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.terminal import make_console
from fleet.initialising import initialise, open_signing, root_file
from fleet.metadata import delegated_models, plan_keys
from fleet.rotating import KeyDesk

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    #: Makes a parser for a subcommand: (parsers, name, summary, description, run).
    Part = Callable[[Any, str, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]

_KEYS_HELP = """\
Shows the keys of a fleet, or changes them. Devices follow by themselves, also those that are off.

example:
    edgeflock fleet keys show
    edgeflock fleet keys rotate targets --keys /media/stick
    edgeflock fleet keys renew targets --keys /media/stick
    edgeflock fleet keys auto digits --on
"""

_ROTATIONS: Final = ("root", "targets", "online", "plan")

#: What people sign, and the server cannot renew by itself.
_RENEWED: Final = ("root", "targets")


def add_keys(parts: _SubParsersAction[argparse.ArgumentParser], part: Part) -> None:
    """Add `keys` to the fleet's commands."""
    keys = part(parts, "keys", "show or change keys", _KEYS_HELP, _run_show)
    actions = keys.add_subparsers(dest="action", metavar="show|rotate|renew|auto", required=True)
    show = actions.add_parser("show", help="list the keys, where they lie, and what expires when")
    rotate = actions.add_parser("rotate", help="make new keys for a role and have the old ones sign them")
    rotate.add_argument("role", choices=_ROTATIONS)
    rotate.set_defaults(run=_run_rotate)
    renew = actions.add_parser("renew", help="sign a role's metadata again before it expires, by its keys")
    renew.add_argument("role", choices=_RENEWED)
    renew.set_defaults(run=_run_renew)
    auto = actions.add_parser(
        "auto", help="let the server sign releases of one model with unchanged contract"
    )
    auto.add_argument("model", help="the model")
    switch = auto.add_mutually_exclusive_group(required=True)
    switch.add_argument("--on", action="store_true", help="begin")
    switch.add_argument("--off", dest="on", action="store_false", help="end")
    auto.set_defaults(run=_run_auto)
    for parser in (show, rotate, renew, auto):  # may stand behind the action too
        parser.add_argument("--state", type=Path, default=argparse.SUPPRESS, help="the fleet's folder")
    for parser in (rotate, renew, auto):
        parser.add_argument(
            "--keys", type=Path, metavar="FOLDER", help="people's keys (<state>/keys/offline)"
        )


def make_keys(state: Path) -> None:
    """Make the keys of a new fleet and tell where they lie. Raises SettingsError where there are some."""
    rows = initialise(state)
    table = Table("keys for", "made", "needed", "where", "what to do with them")
    for row in rows:
        table.add_row(row.role, str(row.count), str(row.threshold), str(row.folder), row.advice)
    console = make_console()
    console.print(table)
    console.print(f"devices need {root_file(state)}: [trust] root in their settings\n", markup=False)


def _run_show(arguments: argparse.Namespace) -> int:
    database = Database(arguments.state).open(create=False)
    try:
        signing, store = open_signing(database), MetadataStore(database)
        root, targets = signing.root(), signing.targets()
        here = read_keys(offline_folder(arguments.state), online_folder(arguments.state))
        keys = Table("role", "needed", "key", "where")
        roles = {name: (role.keyids, role.threshold) for name, role in root.roles.items()}
        if targets is not None:
            roles["plan"] = ([key.keyid for key in plan_keys(targets)], 1)
            for model, key in delegated_models(targets).items():
                roles[f"auto {model}"] = ([key.keyid], 1)
        for name, (keyids, threshold) in roles.items():
            for keyid in keyids:
                place = str(here[keyid][1]) if keyid in here else "not on this machine"
                keys.add_row(name, str(threshold), keyid[:12], place)
        console = make_console()
        console.print(keys)
        console.print(_expiries(store))
    finally:
        database.close()
    return 0


def _expiries(store: MetadataStore) -> Table:
    table = Table("metadata", "version", "expires", "in days")
    now = datetime.now(UTC)
    for role in sorted(store.roles()):
        metadata = store.latest(role)
        if metadata is not None:
            signed = metadata.signed
            days = (signed.expires - now).days
            table.add_row(role, str(signed.version), signed.expires.strftime("%Y-%m-%d %H:%M"), str(days))
    return table


def _run_rotate(arguments: argparse.Namespace) -> int:
    def rotate(desk: KeyDesk) -> None:
        _tell_rotation(arguments.role, desk.rotate(arguments.role))

    return _at_desk(arguments, rotate, "rotate keys", arguments.role)


def _tell_rotation(role: str, made: list[Path]) -> None:
    print(f"new keys for {role}: {', '.join(map(str, made))}; the old ones are put out of use (.retired)")


def _run_renew(arguments: argparse.Namespace) -> int:
    _at_desk(arguments, lambda desk: desk.renew(arguments.role), "renew metadata", arguments.role)
    print(f"{arguments.role} is signed again: `edgeflock fleet keys show` says until when")
    return 0


def _run_auto(arguments: argparse.Namespace) -> int:
    def switch(desk: KeyDesk) -> None:
        desk.automatic(arguments.model, on=arguments.on)
        print(f"the server {'may' if arguments.on else 'may no longer'} sign releases of {arguments.model}")

    return _at_desk(
        arguments, switch, f"automatic signing {'on' if arguments.on else 'off'}", arguments.model
    )


def _at_desk(
    arguments: argparse.Namespace, work: Callable[[KeyDesk], None], action: str, subject: str
) -> int:
    database = Database(arguments.state).open(create=False)
    try:
        work(KeyDesk(database, arguments.keys))
        AuditLog(database).add_command(action, [subject])
    finally:
        database.close()
    return 0
