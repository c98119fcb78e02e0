"""`edgeflock agent`: the device's daemon."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge import settings_file
from edge.adapters.board import read_serial
from edge.app import check, run
from edge.selfupdate.takeover import take_over
from launcher.launch import on_probation, relaunch
from wire.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Runs a model on this device: samples in, answers out, reports over MQTT, and new models from the
server swapped in without a dropped request. Without a network it goes on inferring.

A settings file:

    [device]
    name = "pi-1"
    state = "/var/lib/edgeflock"
    [broker]
    host = "hub.local"
    [trust]
    root = "root.json"
    [model]
    name = "digits"
    [source]
    kind = "npz"
    path = "digits.npz"

example:
    edgeflock agent --check device.toml && edgeflock agent device.toml

Several models: a [[model]] each. All keys: docs/reference/device-settings.md
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:
    """Add `agent` to the command line."""
    parser = commands.add_parser(
        "agent",
        help="run a model on this device",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", type=Path, help="the device's TOML file")
    parser.add_argument(
        "--check", action="store_true", help="say whether the agent could start, and do not start it"
    )
    parser.add_argument(
        "--trial",
        action="store_true",
        help="say whether this software could take over from the agent that runs (it asks before an update)",
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.set_defaults(run=lambda arguments: _run(arguments, version))


def _run(arguments: argparse.Namespace, version: str) -> int:
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return _do(arguments, version)
    except SettingsError as error:
        if not on_probation():
            raise
        # By its code nobody would start us again, and the software before us took these settings.
        raise UnavailableError(str(error)) from error


def _do(arguments: argparse.Namespace, version: str) -> int:
    settings = settings_file.load(arguments.settings, read_serial)
    if arguments.check:
        print(check(settings))
        return 0
    if arguments.trial:
        print(take_over(settings))
        return 0
    code = run(settings, f"edgeflock {version}", arguments.settings)
    if code is None:
        relaunch(sys.argv[2:])
    return code
