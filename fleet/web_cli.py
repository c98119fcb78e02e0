"""`edgeflock fleet password | token | audit`, and where `fleet serve` shows its page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from fleet.adapters.accounts import Accounts, new_password
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.database import Database
from fleet.adapters.terminal import make_console
from fleet.plain_text import printable
from fleet.web.access import ROLES, Role
from fleet.web.address import DEFAULT_HOST, DEFAULT_PORT, WebAddress, web_address
from fleet.web.wording import local
from wire.errors import SettingsError

_LOG_IN_HELP = """\
Makes an account for the page of `fleet serve`, or gives one a new password; its sessions end. The password
is shown once and stored as a hash. With --stdin it is read from there instead.

example:
    edgeflock fleet password --state /srv/fleet
    edgeflock fleet password --role viewer --name kitchen-screen
"""

_USER_HELP = """\
Shows who may log in to the page, or ends an account: its sessions end too. `fleet password` makes accounts,
`fleet token --remove` ends those of programs.

example:
    edgeflock fleet user list
    edgeflock fleet user remove hall-screen
"""

_PROGRAM_HELP = """\
Makes a token with which a program reads the REST API and the metrics of the page from another machine, or,
as operator, steers rollouts. It is shown once and stored as a digest. Without a name the tokens are listed.

example:
    edgeflock fleet token grafana
    edgeflock fleet token grafana --remove
"""

_AUDIT_HELP = """\
Shows who logged in to the page, and who did what there or by a command on this machine: the newest last.

example:
    edgeflock fleet audit
    edgeflock fleet audit --json | jq '.[] | select(.outcome != "done")'
"""


def add_web_options(parser: argparse.ArgumentParser) -> None:
    """Add what `serve` is told about its page."""
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--web", metavar="HOST:PORT", help=f"where the page is ({DEFAULT_HOST}:{DEFAULT_PORT})")
    page.add_argument("--no-web", action="store_true", help="show no page")
    parser.add_argument(
        "--web-certificate", type=Path, metavar="FILE", help="TLS for the page: its certificate chain, PEM"
    )
    parser.add_argument("--web-key", type=Path, metavar="FILE", help="the key of that certificate")


def _add_user(part: Callable[..., argparse.ArgumentParser]) -> None:
    user = part("user", "show or end accounts of the page", _USER_HELP, _run_user_list)
    actions = user.add_subparsers(dest="action", metavar="list|remove", required=True)
    show = actions.add_parser("list", help="show who may log in")
    show.add_argument("--json", action="store_true", help="print JSON")
    remove = actions.add_parser("remove", help="end accounts")
    remove.add_argument("names", metavar="NAME", nargs="+", help="one or several")
    remove.set_defaults(run=_run_user_remove)
    for action in actions.choices.values():  # may stand behind the action too
        action.add_argument("--state", type=Path, default=argparse.SUPPRESS, help="the fleet's folder")


def _add_token(part: Callable[..., argparse.ArgumentParser]) -> None:
    token = part("token", "make a token for a program", _PROGRAM_HELP, _run_token)
    token.add_argument("name", nargs="?", help="the program's name; without one the tokens are listed")
    token.add_argument("--role", choices=ROLES, default="viewer", help="what it may do (%(default)s)")
    token.add_argument("--remove", action="store_true", help="end it")


def page_address(arguments: argparse.Namespace) -> WebAddress | None:
    """Return where the page listens, None for no page; raise SettingsError for what cannot be."""
    if arguments.no_web:
        return None
    return web_address(arguments.web, arguments.web_certificate, arguments.web_key)


def add_web(part: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the subcommands; `part` makes one with its --state."""
    password = part("password", "set a password for the page", _LOG_IN_HELP, _run_password)
    password.add_argument("--role", choices=ROLES, default="operator", help="what it may do (%(default)s)")
    password.add_argument("--name", help="the account's name (as the role)")
    password.add_argument("--stdin", action="store_true", help="read the password from standard input")
    _add_user(part)
    _add_token(part)
    audit = part("audit", "show who did what, on the page and by command", _AUDIT_HELP, _run_audit)
    audit.add_argument("--last", type=int, default=50, metavar="N", help="how many rows (%(default)s)")
    audit.add_argument("--json", action="store_true", help="print JSON")


def set_password(state: Path, name: str, role: Role, password: str) -> None:
    """Store a password and that it was set."""
    database = Database(state).open(create=False)
    try:
        accounts, audit = Accounts(database), AuditLog(database)
        with database.transaction():
            accounts.put(name, role, password)
            audit.add_command("set password", [f"{name} ({role})"])
    finally:
        database.close()


def has_accounts(state: Path) -> bool:
    """Return whether anybody may log in."""
    if not (state / "fleet.db").exists():
        return False
    database = Database(state).open()
    try:
        return Accounts(database).any()
    finally:
        database.close()


def make_operator(state: Path) -> str:
    """Make the first account; return what to tell of it."""
    password = new_password()
    set_password(state, "operator", "operator", password)
    return f"log in to the page as operator with {password}: shown once, `fleet password` sets another"


def _run_password(arguments: argparse.Namespace) -> int:
    name = arguments.name or arguments.role
    given = sys.stdin.readline().rstrip("\n") if arguments.stdin else None
    password = new_password() if given is None else given
    set_password(arguments.state, name, arguments.role, password)
    print(f"{name} ({arguments.role})" + (f": {password}" if given is None else " has a new password"))
    return 0


def _run_user_list(arguments: argparse.Namespace) -> int:
    database = Database(arguments.state).open(create=False)
    try:
        found = Accounts(database).all()
    finally:
        database.close()
    if arguments.json:
        print(json.dumps([{"name": name, "role": role} for name, role in found], indent=2))
        return 0
    for name, role in found:
        print(f"{name} ({role})")
    if not found:
        print("nobody may log in: `edgeflock fleet password` makes an account")
    return 0


def _run_user_remove(arguments: argparse.Namespace) -> int:
    names = list(dict.fromkeys(arguments.names))
    database = Database(arguments.state).open(create=False)
    try:
        accounts, audit = Accounts(database), AuditLog(database)
        with database.transaction():
            for name in names:
                if not accounts.remove(name):
                    raise SettingsError(f"no account {name!r}: `edgeflock fleet user list` shows them")
            audit.add_command("remove account", names)
        operators = [name for name, role in accounts.all() if role == "operator"]
    finally:
        database.close()
    print(f"{', '.join(names)}: no longer let in")
    if not operators:
        print("note: no operator is left; `edgeflock fleet password` makes one", file=sys.stderr)
    return 0


def _run_token(arguments: argparse.Namespace) -> int:
    name: str | None = arguments.name
    if name is None and arguments.remove:
        raise SettingsError("--remove needs the token's name")
    database = Database(arguments.state).open(create=False)
    try:
        accounts, audit = Accounts(database), AuditLog(database)
        if name is None:
            for told, role in accounts.tokens():
                print(f"{told} ({role})")
        elif arguments.remove:
            with database.transaction():
                if not accounts.remove_token(name):
                    raise SettingsError(f"no token {name!r}")
                audit.add_command("remove token", [name])
            print(f"{name} is no longer let in")
        else:
            with database.transaction():
                token = accounts.put_token(name, arguments.role)
                audit.add_command("make token", [f"{name} ({arguments.role})"])
            print(token)
    finally:
        database.close()
    return 0


def _run_audit(arguments: argparse.Namespace) -> int:
    if arguments.last < 1:
        raise SettingsError("--last must be at least 1")
    database = Database(arguments.state).open(create=False)
    try:
        lines = list(reversed(AuditLog(database).lines(arguments.last)))
    finally:
        database.close()
    if arguments.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
        return 0
    if not lines:
        print("nothing yet")
        return 0
    table = Table("time", "who", "from", "action", "what", "outcome")
    for line in lines:
        texts = (line.who, line.source, line.action, line.subject, line.outcome)
        table.add_row(local(line.time_s), *(printable(text) for text in texts))
    make_console().print(table, markup=False)
    return 0
