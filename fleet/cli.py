"""`edgeflock fleet serve | push | devices | …`: the server's side of the command line."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fleet import group_cli, rollout_cli, simulate_cli, store_cli
from fleet.adapters.audit_log import AuditLog
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.registry import Registry
from fleet.adapters.terminal import device_table, keep_showing, make_console
from fleet.agree_cli import add_agree
from fleet.alert_cli import add_alert_options, add_alerts
from fleet.app import serve
from fleet.assigning import EVERYONE
from fleet.broker_start import add_certificate_options, check_options, server_settings
from fleet.enrol_cli import add_enrolment
from fleet.expiry_watch import note_expiries
from fleet.home_cli import add_home_option
from fleet.init_cli import add_init
from fleet.initialising import has_keys
from fleet.keys_cli import add_keys
from fleet.packing import pack, read_bundle
from fleet.releasing import Built
from fleet.signed_release import released
from fleet.signing import no_keys
from fleet.software_cli import add_pack_software
from fleet.updates import travels
from fleet.view import DeviceRow, one_each
from fleet.watch_cli import add_watch
from fleet.web_cli import add_web, add_web_options, page_address
from wire.adapters.files import only_owner
from wire.adapters.signals import stop_on_signals
from wire.deadline import Deadline
from wire.errors import SettingsError, UnavailableError
from wire.messages import Plan, Release
from wire.topics import check_name
from wire.wave import takes_part

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_REFRESH_S: Final = 0.5

_SERVE_HELP = """\
Takes in what devices report and publishes what they should run. Without --broker it starts a broker
of its own: with TLS as `fleet init` has configured it, or without (mosquitto if installed, otherwise an
embedded one) on 127.0.0.1 only. Shows the fleet as a page (`edgeflock fleet password` sets a password).

example:
    edgeflock fleet serve --state /srv/fleet --broker hub.local:1883
"""

_PUSH_HELP = """\
Releases a bundle and makes it the plan of a group: each device of the group fetches it, tries it in
a child process, swaps it in between two inferences, and reports. `fleet serve` must be running on
the same state folder for anything to happen. People's keys sign it, those in the state folder or on a
stick named with --keys. A device that holds one of the last releases of the model fetches only the
differences from it, where these are much smaller.

example:
    edgeflock fleet push digits-2.bundle --to all --wait
"""

_DEVICES_HELP = """\
Shows a row for each model of each device: state, throughput, latency, accuracy with its 95 % interval
(Wilson), and the device's resources.

example:
    edgeflock fleet devices --watch
    edgeflock fleet devices --json | jq '.[] | select(.presence != "online") | .device'
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # the same for all
    """Add `fleet` to the command line."""
    fleet = commands.add_parser(
        "fleet",
        help="serve, push to and watch a fleet",
        description="The server side of a fleet. Each subcommand's --help has an example.",
    )
    parts = fleet.add_subparsers(dest="part", metavar="COMMAND", required=True)
    add_init(functools.partial(_part, parts))
    add_keys(parts, _part)
    add_enrolment(functools.partial(_part, parts))
    server = _part(parts, "serve", "take in reports, publish models", _SERVE_HELP, _run_serve)
    server.add_argument("--broker", metavar="HOST[:PORT]", help="use the broker there instead of an own one")
    server.add_argument("--port", type=int, help="port of the own broker (with TLS 8883, else 1883)")
    server.add_argument("--prefix", help="first level of every topic (that of `init`, else edgeflock)")
    server.add_argument(
        "--unsigned", action="store_true", help="serve a fleet without keys, on a network that you trust"
    )
    add_certificate_options(server)
    add_alert_options(server)
    store_cli.add_keep_options(server)
    add_web_options(server)
    add_home_option(server, "tell Home Assistant of the devices (homeassistant)")
    server.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    push = _part(parts, "push", "release a bundle to a group", _PUSH_HELP, _run_push)
    push.add_argument("bundle", type=Path, help="made by `edgeflock convert`, or `fleet pack-software`")
    push.add_argument("--to", metavar="GROUP", default=EVERYONE, help="the group (%(default)s)")
    push.add_argument("--percent", type=float, help="share of the group that takes part (100)")
    push.add_argument("--devices", metavar="A,B", help="only these, or besides --percent")
    push.add_argument("--rate-kb", type=int, metavar="KB/S", help="cap on the download of each device")
    push.add_argument("--retry", action="store_true", help="try it again where it was blocked before")
    push.add_argument("--keys", type=Path, metavar="FOLDER", help="people's keys (<state>/keys/offline)")
    push.add_argument("--auto", action="store_true", help="have the model's automatic role sign it")
    push.add_argument(
        "--wait", nargs="?", type=float, const=600.0, metavar="SECONDS", help="wait until they run it (600)"
    )
    devices = _part(parts, "devices", "show the devices", _DEVICES_HELP, _run_devices)
    look = devices.add_mutually_exclusive_group()
    look.add_argument("--watch", action="store_true", help="keep showing, until Ctrl-C")
    look.add_argument("--json", action="store_true", help="print JSON")
    add_alerts(partial(_part, parts))
    rollout_cli.add_parts(partial(_part, parts))
    group_cli.add_parts(partial(_part, parts))
    store_cli.add_parts(partial(_part, parts))
    add_web(partial(_part, parts))
    add_watch(partial(_part, parts))
    simulate_cli.add_parts(partial(_part, parts))
    add_agree(partial(_part, parts))
    add_pack_software(parts)


def _part(
    parts: _SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = parts.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--state", type=Path, default=Path("fleet-state"), help="the fleet's folder (%(default)s)"
    )
    parser.set_defaults(run=run)
    return parser


def _run_serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop, page, keep = threading.Event(), page_address(arguments), store_cli.keep_of(arguments)
    check_options(arguments)
    if not arguments.unsigned and not has_keys(arguments.state):  # first: a lock would make the folder
        raise no_keys(arguments.state)
    with only_owner(arguments.state / "lock", "server"):
        stop_on_signals(stop)
        with server_settings(arguments) as settings:
            serve(replace(settings, keep=keep, page=page), stop)
    return 0


def _run_push(arguments: argparse.Namespace) -> int:
    part = _part_of(arguments)
    bundle = read_bundle(arguments.bundle)
    database = Database(arguments.state).open(create=False)
    try:
        registry = Registry(database).open()
        built, updated = pack(bundle, registry, FleetReader(database).models())
        try:
            release, plan = _put(database, updated, arguments, part)
        except SettingsError:  # it may be the updates for which the targets have no room
            if not updated.updates:
                raise
            release, plan = _put(database, built, arguments, part)
        known = registry.members(arguments.to)
        for stranger in sorted({*part.canaries} - {*known}):
            print(f"note: {stranger} is no device of {arguments.to} yet", file=sys.stderr)
        members = [device for device in known if takes_part(plan, device)]
        print(
            f"{release.name} -> {arguments.to} ({len(members)} devices so far): "
            f"{release.bundle_bytes:,} bytes, on the wire {travels(release, registry.releases())}"
        )
        note_expiries(arguments.state)
        if arguments.wait is None:
            return 0
        if not members:
            raise UnavailableError(f"no device of {arguments.to} takes part, there is none to wait for")
        reader, deadline = FleetReader(database), Deadline.after(arguments.wait)
        before = _refusing(reader.rows(), release.name) if arguments.retry else frozenset()
        return _wait(reader, release.name, members, deadline, before)
    finally:
        database.close()


@dataclass(frozen=True)
class _Part:
    """Which devices of a group take part, and how fast they fetch."""

    percent: float
    canaries: tuple[str, ...]
    rate_bytes_s: int | None


def _part_of(arguments: argparse.Namespace) -> _Part:
    """Return what the options say; raise SettingsError for what cannot be."""
    check_name("group", arguments.to)
    canaries = tuple(check_name("device", d) for d in (arguments.devices or "").split(",") if d)
    if arguments.devices is not None and not canaries:
        raise SettingsError("--devices names none: write A,B, or leave it out for the whole group")
    percent = arguments.percent
    if percent is None:  # named devices alone mean these and no others
        percent = 0.0 if canaries else 100.0
    if not 0 <= percent <= 100:
        raise SettingsError("--percent must be 0 to 100")
    if arguments.rate_kb is not None and arguments.rate_kb < 1:
        raise SettingsError("--rate-kb must be at least 1")
    return _Part(percent, canaries, arguments.rate_kb and arguments.rate_kb * 1000)


def _put(
    database: Database, built: Built, arguments: argparse.Namespace, part: _Part
) -> tuple[Release, Plan]:
    """Store a release, plan it and sign both, or nothing of it."""
    with released(database, built, keys=arguments.keys, automatic=arguments.auto) as release:
        plan = (
            Registry(database)
            .open()
            .plan(
                release,
                arguments.to,
                percent=part.percent,
                canaries=part.canaries,
                rate_bytes_s=part.rate_bytes_s,
                retry=arguments.retry,
            )
        )
        AuditLog(database).add_command("push", [f"{release.name} in {arguments.to}"])
    return release, plan


def _wait(
    reader: FleetReader, release: str, members: list[str], deadline: Deadline, before: frozenset[str]
) -> int:
    """Show a progress bar until every member runs the release (0) or one refuses it (1).

    Those that refused it `before` count only when they have tried again. Raises UnavailableError when the
    time is up.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=make_console()) as progress:
        task = progress.add_task(f"devices on {release}", total=len(members))
        while True:
            found = [row for row in reader.rows() if row.device in members]
            rows = one_each(found, release.rpartition("/")[0])
            progress.update(task, completed=sum(_settled(row, release) for row in rows))
            refusing = _refusing(rows, release)
            before &= refusing
            if progress.finished or refusing - before or deadline.passed:
                break
            time.sleep(_REFRESH_S)
    if progress.finished:
        return 0
    for row in rows:
        if row.device in refusing - before:
            print(f"{row.device} refuses {release}: {row.error}")
    if refusing - before:
        return 1
    late = [f"{row.device} ({row.state or 'silent'})" for row in rows if not _settled(row, release)]
    raise UnavailableError(f"{release} is not everywhere in time: {', '.join(late) or 'no device reports'}")


def _refusing(rows: list[DeviceRow], release: str) -> frozenset[str]:
    return frozenset(row.device for row in rows if row.target == release and row.state == "blocked")


def _settled(row: DeviceRow, release: str) -> bool:
    return row.current == release and row.state == "idle"


def _run_devices(arguments: argparse.Namespace) -> int:
    database = Database(arguments.state).open(create=False)
    try:
        reader = FleetReader(database)
        if arguments.json:
            print(json.dumps([asdict(row) for row in reader.rows()], indent=2))
            return 0
        console = make_console()
        if not arguments.watch:
            rows = reader.rows()
            console.print(device_table(rows) if rows else "no device has reported yet")
            return 0
        return keep_showing(console, lambda: device_table(reader.rows()), _REFRESH_S)
    finally:
        database.close()
