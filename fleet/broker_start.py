"""From the arguments of `fleet serve` to a broker that runs, its own or another: wiring."""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from fleet.adapters import pki
from fleet.adapters.broker import RunningBroker, start_broker, start_configured, user_line
from fleet.adapters.broker_files import BrokerFiles
from fleet.adapters.broker_lists import BrokerLists
from fleet.adapters.broker_watch import BrokerWatch
from fleet.adapters.signing_desk import login_line, make_token, now
from fleet.alert_cli import alert_settings
from fleet.app import GateSettings, ServerSettings
from fleet.broker_setup import BrokerPlan
from fleet.home_cli import home_of
from wire.adapters.paho_link import BrokerAddress, Login
from wire.adapters.tls import TlsFiles
from wire.enrolment import SERVER_NAME
from wire.errors import SettingsError, UnavailableError

log = logging.getLogger(__name__)

_PLAIN_PORT: Final = 1883
_LOCAL: Final = "127.0.0.1"


def add_certificate_options(parser: argparse.ArgumentParser) -> None:
    """Add what `serve` is told about certificates."""
    parser.add_argument(
        "--claim-port", type=int, help="port for enrolment at the own broker (as `init` was told)"
    )
    parser.add_argument(
        "--certificate-days", type=float, default=float(pki.DEVICE_DAYS),
        help="how long a device's certificate lives (%(default)g)",
    )  # fmt: skip


def parse_address(text: str, port: int = _PLAIN_PORT) -> BrokerAddress:
    """Return the address in `HOST` or `HOST:PORT`; raise SettingsError for anything else."""
    host, _, given = text.partition(":")
    if not host or (given and not (given.isascii() and given.isdigit() and 0 < int(given) < 65536)):
        raise SettingsError(f"--broker {text!r}: write HOST or HOST:PORT")
    return BrokerAddress(host, int(given) if given else port)


def check_options(arguments: argparse.Namespace) -> None:
    """Raise SettingsError for arguments that cannot be, before anything is made."""
    for option, port in (("--port", arguments.port), ("--claim-port", arguments.claim_port)):
        if port is not None and not 0 < port < 65536:
            raise SettingsError(f"{option} must be 1 to 65535")
    if not 0 < arguments.certificate_days <= 3650:
        raise SettingsError("--certificate-days must be above 0 and at most 3650")
    if arguments.broker:
        parse_address(arguments.broker)
    alert_settings(arguments)


@contextmanager
def server_settings(arguments: argparse.Namespace) -> Iterator[ServerSettings]:
    """Yield where the server connects, with a broker started for it and ended after it where none is named.

    Raises SettingsError for arguments that do not fit the state, UnavailableError for a broker that cannot be
    started.
    """
    alerts = alert_settings(arguments)
    files = BrokerFiles(arguments.state)
    plan = files.plan() if files.exist else None
    if plan and arguments.prefix not in (None, plan.prefix):
        raise SettingsError(f"--prefix {arguments.prefix}: the access lists are made for {plan.prefix}")
    prefix = arguments.prefix or (plan.prefix if plan else BrokerPlan(()).prefix)
    home = home_of(arguments, prefix)
    in_force = files.revoked() if plan else []  # before the broker reads it: a `revoke` may come in between
    with ExitStack() as brokers:
        broker: RunningBroker | None = None
        if arguments.broker:
            address = parse_address(arguments.broker, plan.port if plan else _PLAIN_PORT)
        else:
            broker = _start_locked(arguments, files, plan) if plan else _start_plain(arguments)
            brokers.callback(BrokerWatch(broker, "the broker", time.monotonic).start().close)
            address = broker.address
            log.info("started %s on %s", broker.kind, address)
        if plan is None:
            yield ServerSettings(
                arguments.state, address, prefix, unsigned=arguments.unsigned, alerts=alerts, home=home
            )
            return
        gate, claims = _make_gate(arguments, files, plan, broker, in_force)
        if claims:
            watch = BrokerWatch(claims, "the broker for enrolment", time.monotonic)
            brokers.callback(watch.start().close)
        secured = BrokerAddress(address.host, address.port, files.server_tls)
        yield ServerSettings(arguments.state, secured, prefix, gate, arguments.unsigned, alerts, home=home)


def _start_plain(arguments: argparse.Namespace) -> RunningBroker:
    address = BrokerAddress(_LOCAL, arguments.port or _PLAIN_PORT)
    arguments.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    broker = start_broker(arguments.state / "broker", address)
    log.warning(
        "no certificates (`edgeflock fleet init` makes them): the broker is open to every program on "
        "this machine, and to no other machine"
    )
    return broker


def _start_locked(arguments: argparse.Namespace, files: BrokerFiles, plan: BrokerPlan) -> RunningBroker:
    port = arguments.port or plan.port
    config = files.running_config(port, user_line())
    return start_configured(config, BrokerAddress(plan.bind or _LOCAL, port))


def _make_gate(
    arguments: argparse.Namespace,
    files: BrokerFiles,
    plan: BrokerPlan,
    broker: RunningBroker | None,
    in_force: Sequence[str],
) -> tuple[GateSettings, RunningBroker | None]:
    """Start the broker for enrolment, also beside a broker that is not ours."""
    life = dt.timedelta(days=arguments.certificate_days)
    password = make_token()  # new at every start: nobody else needs it
    login = login_line(SERVER_NAME, password)
    files.write_logins([login])
    port = arguments.claim_port or plan.claim_port
    address = BrokerAddress(plan.bind or _LOCAL, port, TlsFiles(files.broker_ca))
    claims: RunningBroker | None = None
    try:
        claims = start_configured(files.running_claims_config(port, user_line()), address)
    except UnavailableError as error:
        log.error("no enrolment of new devices: %s", error)
    lists = BrokerLists(files, broker, claims, login, now, in_force=in_force)
    own = (address, Login(SERVER_NAME, password)) if claims else None
    return GateSettings(files, life, lists, own), claims
