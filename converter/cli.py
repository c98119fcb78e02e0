"""`edgeflock convert`: from a trained model to a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from converter.adapters.terminal import Stages, make_console, show
from converter.app import RECIPES, ConvertRequest, convert

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Makes a bundle from a Keras model: quantizes it, measures what that costs on test data, and packs the
model with its labels and with golden outputs, on which every device checks it before it serves.

The data set is an npz file, with inputs scaled as in training:

    numpy.savez_compressed("digits.npz", x_train=..., y_train=..., x_test=..., y_test=...,
                           labels=["zero", "one", ...])

x_train calibrates (100 rows of it), x_test measures: the model must not have been trained on x_test.
y_* are class numbers; labels are optional.

recipes:
    int8       a quarter of the bytes, usually twice as fast (the default)
    float32    the model as it is

example:
    edgeflock convert digits.keras --data digits.npz --version 2 --out digits-2.bundle
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # every command's signature
    """Add `convert` to the command line."""
    parser = commands.add_parser(
        "convert",
        help="make a small, proven bundle from a Keras model",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="MODEL", help="a .keras or .h5 file")
    parser.add_argument("--data", type=Path, required=True, metavar="NPZ", help="calibration and test data")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the bundle (default: NAME-VERSION.bundle)")
    parser.add_argument("--name", help="the model's name in the fleet (default: MODEL without its ending)")
    parser.add_argument("--version", default="1", metavar="V", help="this release's version (default: 1)")
    parser.add_argument("--recipe", choices=RECIPES, default="int8", help="default: int8")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    name = arguments.source.stem if arguments.name is None else arguments.name
    request = ConvertRequest(
        source=arguments.source,
        data=arguments.data,
        out=arguments.out or Path(f"{name}-{arguments.version}.bundle"),
        model=name,
        version=arguments.version,
        recipe=arguments.recipe,
        report_out=arguments.json,
    )
    stages = Stages(make_console(stderr=True))
    with stages.shown():
        result = convert(request, stages)
    console = make_console()
    show(console, result.report)
    console.print(f"wrote {result.out}: {result.bundle_bytes:,} bytes")
    return 0
