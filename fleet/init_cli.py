"""`edgeflock fleet init`: makes what a fleet needs before its first device. A function for each part."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.signing_desk import now
from fleet.broker_setup import BrokerPlan
from fleet.home_cli import add_home_option
from fleet.initialising import has_keys, restore_root, root_file, stray_keys
from fleet.keys_cli import make_keys
from fleet.web_cli import has_accounts, make_operator
from wire.errors import SettingsError

_HELP: Final = """\
Makes what locks the fleet in, in its state folder:
- the keys that sign releases and plans, and root.json, which tells a device whom to believe. The set is
  complete for development; for real use take the offline keys off this machine, as the table says;
- the broker's configuration with one access list for each listener, two CAs, and the certificates of the
  broker and the server;
- a password for the page that `fleet serve` shows, told once.
It makes what is missing, also after a run that was interrupted, and overwrites nothing.

example:
    edgeflock fleet init --state /srv/fleet --host hub.local --host 192.168.1.10
    edgeflock fleet init --state /tmp/try --plain
"""

_MADE: Final = """\
{folder} is ready. The broker answers to: {hosts}

  keep secret     device-ca.key: who has it can make devices; `fleet serve` and `fleet enroll` need it
  take offline    broker-ca.key: needed only for another broker certificate
  give devices    broker-ca.pem: how a device knows this broker
  mosquitto's     mosquitto.conf with acl.conf and crl.pem, claims.conf: `fleet serve` starts both

next: edgeflock fleet serve --state {state}
      edgeflock fleet enroll DEVICE --state {state}
"""


def add_init(part: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `init`; `part` makes a subcommand of `fleet` with its --state."""
    parser = part("init", "make the keys and certificates of a new fleet", _HELP, _run)
    parser.add_argument(
        "--plain", action="store_true", help="keys only: the broker stays open, and on 127.0.0.1"
    )
    parser.add_argument(
        "--renew",
        action="store_true",
        help="only new certificates for the broker and the server, by the CAs that there are",
    )
    add_broker_options(parser)


def add_broker_options(parser: argparse.ArgumentParser) -> None:
    plan = BrokerPlan(())
    parser.add_argument(
        "--host", action="append", metavar="NAME",
        help="name or address under which devices reach the broker; may be repeated (this computer's names)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=plan.port, help="for devices (%(default)s)")
    parser.add_argument(
        "--claim-port", type=int, default=plan.claim_port, help="for their enrolment (%(default)s)"
    )
    parser.add_argument("--bind", default="", metavar="ADDRESS", help="listen on this address only (all)")
    parser.add_argument("--prefix", default=plan.prefix, help="first level of every topic (%(default)s)")
    add_home_option(parser, "let the server tell Home Assistant of the devices (homeassistant)")


def set_up_broker(arguments: argparse.Namespace) -> str:
    """Make the broker's part; return what to tell. Raises SettingsError where there is one."""
    hosts = [*(arguments.host or _own_names()), arguments.bind, "localhost", "127.0.0.1", "::1"]
    hosts = [host for host in dict.fromkeys(hosts) if host]
    home = arguments.home_assistant or ""
    plan = BrokerPlan(
        tuple(hosts), arguments.prefix, arguments.port, arguments.claim_port, arguments.bind, home
    )
    files = BrokerFiles(arguments.state)
    files.make(plan, now())
    return _MADE.format(folder=files.folder, hosts=", ".join(hosts), state=arguments.state)


def _own_names() -> list[str]:
    name = socket.gethostname()
    return [name] if "." in name else [name, f"{name}.local"]


def _run(arguments: argparse.Namespace) -> int:
    state: Path = arguments.state
    if arguments.renew:
        if arguments.plain or arguments.host:
            raise SettingsError("--renew makes what `init` was told before: leave out --host and --plain")
        return _renew(state)
    broker = not arguments.plain and not BrokerFiles(state).exist
    keys, root = not has_keys(state), not root_file(state).exists()
    account = not has_accounts(state)
    if not (broker or keys or root or account):
        raise SettingsError(
            f"{state} has all that `init` makes, and devices may trust it: nothing was written"
        )
    told = set_up_broker(arguments) if broker else ""  # first: it may refuse what it was told
    if keys:
        _make_keys(state)
    elif root:
        restore_root(state)
        print(f"wrote {root_file(state)} again")
    print(told, end="")
    if account:
        print(make_operator(state))
    return 0


def _renew(state: Path) -> int:
    files = BrokerFiles(state)
    if not files.exist:
        raise SettingsError(f"no certificates in {state}: run `edgeflock fleet init --state {state}` first")
    files.renew(now())
    print(
        f"new certificates in {files.folder}; next: restart `edgeflock fleet serve`, or the broker of yours"
    )
    return 0


def _make_keys(state: Path) -> None:
    strays = stray_keys(state)
    if strays:
        names = ", ".join(str(path.relative_to(state)) for path in strays)
        print(f"not used, because no metadata of this fleet names them: {names}\n")
    make_keys(state)
