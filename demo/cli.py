"""`edgeflock demo`: the whole system on this machine, in about a minute."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from demo.app import Tour, TourSettings
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Trains a small Keras model on real handwritten digits, converts it, starts a broker, a fleet server
and three devices (each its own process), pushes version 1 and then a better version 2 while the
devices infer, and shows all of it. Ends with 0 only if every device runs version 2, no inference
was dropped or failed, and every message was accounted for.

example:
    edgeflock demo --keep
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # the same for all
    """Add `demo` to the command line."""
    parser = commands.add_parser(
        "demo",
        help="see the whole system work on this machine",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--devices", type=int, default=3, help="how many devices (%(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="samples a second and device (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("demo-run"), help="files go here (%(default)s)")
    parser.add_argument("--broker", choices=["auto", "mosquitto", "embedded"], default="auto")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.devices <= 50:
        raise SettingsError("--devices must be 1 to 50")
    if not 0 < arguments.rate < math.inf:
        raise SettingsError("--rate must be a number above 0")
    return Tour(
        TourSettings(
            folder=arguments.folder.resolve(),
            devices=arguments.devices,
            rate_hz=arguments.rate,
            broker=arguments.broker,
            keep=arguments.keep,
        )
    ).run()
