"""`edgeflock inspect`: what is inside a bundle, and whether it is whole."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from converter.adapters.bare_model import describe
from converter.adapters.terminal import Stages, make_console, print_pairs, print_table
from converter.inspection import Inspection, inspect_bundle, inspect_model, is_bare_model, pairs, tables
from converter.report import as_json
from wire.errors import ModelError, UnavailableError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Shows what is inside a bundle: what it says of itself, its sizes, tensors, labels and golden set, what it
was measured to do and where it was proved. It checks the bundle as a device does; one that is damaged is
an error. A bare .tflite is shown as far as it tells. Neither TensorFlow nor an interpreter is needed.

example:
    edgeflock inspect digits-2.bundle
    edgeflock inspect digits-2.bundle --json | jq .manifest.metrics
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # every command's signature
    """Add `inspect` to the command line."""
    parser = commands.add_parser(
        "inspect",
        help="show what is inside a bundle",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a bundle or a bare .tflite")
    parser.add_argument("--json", action="store_true", help="print it as JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    stages = Stages(make_console(stderr=True))
    with stages.shown():
        stages("compressing it as it would travel")  # seconds for a large one
        found = inspect_file(arguments.file)
    if arguments.json:
        sys.stdout.write(json.dumps(as_json(found), indent=2, allow_nan=False) + "\n")
        return 0
    console = make_console()
    print_pairs(console, pairs(found))
    for table in tables(found):
        print_table(console, table)
    return 0


def inspect_file(path: Path) -> Inspection:
    """Return what `path` holds.

    Raises BundleError for a damaged bundle, ModelError for a damaged .tflite, and OSError.
    """
    data = path.read_bytes()
    if not is_bare_model(data):
        return inspect_bundle(data, str(path))
    try:
        return inspect_model(data, str(path), describe(data))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except UnavailableError as error:
        return inspect_model(data, str(path), None, (f"tensors and operators: {error}",))
