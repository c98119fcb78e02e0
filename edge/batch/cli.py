"""`edgeflock batch`: many files in, a table of answers out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge.batch.app import Order, run
from edge.batch.destination import parse_destination
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Answers every row of many files, on all cores, in memory that does not grow with them.

    INPUT     images, WAV, npy, npz, CSV and Parquet files, and folders of those
    --out     FILE.csv, FILE.ndjson, FILE.parquet or sqlite:FILE?table=NAME

Killed, out of disk, without power: the same command with --resume goes on, and every row is there
exactly once. An input that cannot be answered is listed in OUT.errors.ndjson and does not stop the
rest. Exit code: 0 all answered, 1 some were bad, 2 wrong usage, 130 or 143 stopped by a signal.
"""

_EXAMPLES = """\
example:
    edgeflock batch digits.bundle photos/ --out answers.csv
    edgeflock batch digits.bundle photos/ --out answers.csv --resume
    edgeflock batch price.bundle houses.parquet --out sqlite:prices.db?table=monday --truth price

More: docs/how-to/answer-many-files.md
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # as every command has it
    """Add `batch` to the command line."""
    parser = commands.add_parser(
        "batch",
        help="answer many files, and go on after an interruption",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the bundle")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="a file or a folder")
    parser.add_argument("--out", required=True, metavar="OUT", help="where the answers go")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="go on where an earlier run stopped")
    there.add_argument("--overwrite", action="store_true", help="begin anew, whatever is there")
    parser.add_argument(
        "--columns",
        metavar="A,B,…",
        default="",
        help="columns for the input, or an npz's array for each input, in order (all numeric ones)",
    )
    parser.add_argument(
        "--truth",
        metavar="COLUMN",
        default="",
        help="column or npz array with the right answer, to tell the accuracy; `folder` for images and WAV",
    )
    parser.add_argument("--outputs", action="store_true", help="write all raw outputs besides")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=0,
        metavar="N",
        help="N rows in one call: faster for tiny models only",
    )
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="workers (the cores it may use)")
    parser.add_argument(
        "--checkpoint-s",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds of work that a power cut may cost (5)",
    )
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help="auto, ai-edge-litert or tflite-runtime"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    for name in ("batch_size", "jobs", "checkpoint_s"):
        if not 0 <= getattr(arguments, name) < 1_000_000:
            raise SettingsError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: 0 or more")
    return run(
        Order(
            model=arguments.model,
            inputs=tuple(arguments.inputs),
            out=parse_destination(arguments.out),
            columns=tuple(name.strip() for name in arguments.columns.split(",") if name.strip()),
            truth=arguments.truth,
            outputs=arguments.outputs,
            batch=arguments.batch_size,
            jobs=arguments.jobs,
            backend=arguments.backend,
            checkpoint_s=arguments.checkpoint_s,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        )
    )
