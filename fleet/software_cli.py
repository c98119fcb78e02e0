"""`edgeflock fleet pack-software`: makes a release of the agents' own software."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.adapters.wheel_file import read_wheel
from fleet.software_release import make_release
from wire.adapters.files import write_atomic
from wire.errors import BundleError
from wire.software import SOFTWARE, inspect

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP: Final = f"""\
Makes of edgeflock's wheel, and of wheels of packages that it needs newer than devices have them, one file
that `fleet push` releases like a model, by the name {SOFTWARE}: signed, to groups and canaries, and
back. Each device tries it beside the agent that runs, starts anew with it, and goes back where it is not
healthy.

example:
    edgeflock fleet pack-software dist/edgeflock-0.2.0-py3-none-any.whl --out software-0.2.0.bundle
    edgeflock fleet push software-0.2.0.bundle --devices pi-1
"""


def add_pack_software(parts: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand; it needs no fleet, so it has no --state."""
    parser = parts.add_parser(
        "pack-software",
        help="make a release of the agents' own software",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL", help="edgeflock's, and others")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the release")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    data = make_release([read_wheel(path) for path in arguments.wheels])
    manifest = inspect(io.BytesIO(data))
    software = manifest.software
    assert software is not None, "make_release sets it"
    try:
        write_atomic(arguments.out, data)
    except OSError as error:
        raise BundleError(f"{arguments.out}: {error.strerror}") from error
    below = f" and below {software.python_below}" if software.python_below else ""
    print(
        f"{arguments.out}: {SOFTWARE}/{manifest.version}, {len(data):,} bytes, "
        f"for Python {software.python_from}{below} on {', '.join(manifest.machines) or 'every board'}, "
        f"protocol {software.protocol_from} to {software.protocol}"
    )
    return 0
