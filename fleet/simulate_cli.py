"""`edgeflock fleet simulate`: a fleet that is not there, on a broker that is."""

from __future__ import annotations

import argparse
import math
import sys
import threading
from pathlib import Path
from typing import Final

from fleet.broker_start import parse_address
from fleet.rollout_cli import AddPart
from fleet.simulation.course import Count, Course, Outcome
from fleet.simulation.scenario import Scenario, load
from wire.adapters.paho_link import BrokerAddress
from wire.adapters.signals import stop_on_signals
from wire.errors import SettingsError

_HELP: Final = """\
Lets devices that are not there report to a broker, as real ones would: telemetry with counters that fit
each other, samples, events, states. A scenario says what happens: drift, a bad release, links that flap,
heat, lies (docs/scenarios has examples). At the end every message of an honest device must have been
acknowledged by the server; if the fleet of --state is on this machine, its store is looked into as well:
0 lost, 0 doubled, or the exit code is 1.

The devices share a few connections, so the broker must let anyone in (`fleet serve` after `init --plain`, or
--unsigned). With --speed the devices' time runs faster: 60 makes an hour a minute, and lets it end now.

example:
    edgeflock fleet serve --state /tmp/play --unsigned &
    edgeflock fleet simulate --devices 200 --scenario docs/scenarios/bad-release.toml --state /tmp/play \\
        --seconds 120 --speed 60
"""

_PORT: Final = 1883
_MAX_DEVICES: Final = 99_999


def add_parts(part: AddPart) -> None:
    """Add the command; `part` makes a subcommand of `fleet` with its --state."""
    parser = part("simulate", "let a fleet that is not there report", _HELP, _run)
    parser.add_argument("--devices", type=int, default=20, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="what happens (nothing)")
    parser.add_argument("--broker", metavar="HOST[:PORT]", default="127.0.0.1", help="(%(default)s)")
    parser.add_argument("--prefix", default="edgeflock", help="first level of every topic (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long (%(default)g)")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="of their time (%(default)g)")
    parser.add_argument("--connections", type=int, default=4, metavar="N", help="shared by all (%(default)s)")


def _run(arguments: argparse.Namespace) -> int:
    from fleet.simulation.app import simulate  # numpy behind it: no other command waits for that

    course = _course(arguments)
    stop = threading.Event()
    stop_on_signals(stop)
    outcome = simulate(course, stop, _tell)
    print("\r" * sys.stderr.isatty(), end="", file=sys.stderr)
    print(_summary(course, outcome))
    return 0 if outcome.good else 1


def _course(arguments: argparse.Namespace) -> Course:
    """Return what the options say; raise SettingsError for what cannot be."""
    scenario = load(arguments.scenario) if arguments.scenario else Scenario()
    if not 1 <= arguments.devices <= _MAX_DEVICES:
        raise SettingsError(f"--devices is 1 to {_MAX_DEVICES}")
    if not 1 <= arguments.connections <= 100:
        raise SettingsError("--connections is 1 to 100")
    for name in ("seconds", "speed"):
        value = getattr(arguments, name)
        if not (math.isfinite(value) and value > 0):
            raise SettingsError(f"--{name} is above 0")
    address: BrokerAddress = parse_address(arguments.broker, _PORT)
    state = arguments.state if (arguments.state / "fleet.db").exists() else None
    return Course(
        scenario, address, arguments.devices, arguments.seconds, arguments.speed, arguments.connections,
        arguments.prefix, state=state,
    )  # fmt: skip


def _tell(count: Count, left_s: float) -> None:
    line = (
        f"{count.acknowledged} of {count.said} messages acknowledged, {count.held} waiting, "
        f"{count.lies} lies, {left_s:.0f} s left"
    )
    if sys.stderr.isatty():
        print(f"\r{line:<79}", end="", file=sys.stderr, flush=True)


def _summary(course: Course, outcome: Outcome) -> str:
    count = outcome.count
    lines = [
        f"{course.devices} devices said {count.said} messages in {outcome.seconds:.0f} s, "
        f"{count.acknowledged} were acknowledged, {count.held} were not"
    ]
    if outcome.liars:
        lines.append(f"{outcome.liars} devices told {count.lies} lies and are not counted")
    if count.reconnects:
        lines.append(f"{count.reconnects} connections were lost and made again")
    if outcome.arrived is None:
        lines.append("nobody looked into the store: there is no fleet in the folder of --state")
    else:
        found = outcome.arrived
        lines.append(f"in the store: {found.messages} messages, {found.lost} lost, {found.doubled} doubled")
    return "\n".join(lines)
