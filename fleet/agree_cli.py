"""`edgeflock fleet agree`: whether a release answers in the field as the model that it was made from."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.adapters.agreement_table import AgreementTable
from fleet.adapters.database import Database
from fleet.adapters.terminal import make_console
from fleet.agreeing import Agreement, PolicyAgreement, Rerun
from fleet.plain_text import printable
from fleet.rerunning import compare, read_reference
from fleet.rollout_cli import AddPart
from wire.errors import SettingsError

_MOST: Final = 2000
_SHOWN: Final = 20

_HELP: Final = """\
Runs the inputs that devices sampled (`samples.inputs = true`) on a reference model here, the float32 model
that the release was made from, and counts how often both give the same class. It measures what quantisation,
the interpreter and the board change. It is no accuracy: both may be wrong about the same input.

Only inputs that were sampled uniformly say how often; their interval knows that those of one device are
alike. Needs an interpreter: pip install 'edgeflock[agree]'. The newest result is kept in the
fleet's database.

example:
    edgeflock fleet agree digits/2 --reference digits-float32.bundle
    edgeflock fleet agree digits/2 --reference digits.tflite --json | jq '.policies[0].share'
"""

_MEANING: Final = "this measures quantisation, interpreter and board; it does not say who is right"


def add_agree(add_part: AddPart) -> None:
    """Add the subcommand."""
    agree = add_part("agree", "rerun sampled inputs on a reference model", _HELP, _run)
    agree.add_argument("release", metavar="MODEL/VERSION", help="a release that was pushed")
    agree.add_argument(
        "--reference", type=Path, required=True, metavar="FILE", help="a bundle, or a .tflite file"
    )
    agree.add_argument("--most", type=int, default=_MOST, metavar="N", help="of the newest (%(default)s)")
    agree.add_argument("--json", action="store_true", help="print JSON, with all that disagree")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.most < 1:
        raise SettingsError("--most is at least 1")
    reference = read_reference(arguments.reference)
    database = Database(arguments.state).open(create=False)
    try:
        found = compare(database, arguments.release, reference, arguments.most)
        AgreementTable(database).put(found)
    finally:
        database.close()
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found, make_console())
    return 0


def _show(found: Agreement, console: Console) -> None:
    reference = found.against.model or found.against.file
    console.print(Text(f"{found.release} and {reference}, on {found.answers} sampled inputs"))
    for part in found.policies:
        console.print(Text(f"  {_policy(part)}"))
    for why, count in found.left_out.items():
        console.print(Text(f"  left out: {count} {why}"))
    console.print(Text(_MEANING))
    if found.disagreeing:
        console.print(_table(found.disagreeing[:_SHOWN]))
    further = len(found.disagreeing) - _SHOWN
    if further > 0:
        console.print(Text(f"and {further} more (--json has all)"))
    if found.truths:
        sides = ", ".join(f"{side} {count}" for side, count in sorted(found.truths.items()))
        console.print(Text(f"right where they differ and the truth is known: {sides}"))


def _policy(part: PolicyAgreement) -> str:
    counts = f"{part.policy}: {part.agreeing} of {part.answers} agree"
    if part.share is None:
        return f"{counts}, of these only"
    share = part.share
    clusters = "by devices" if share.method == "devices" else "as if all answers were independent"
    return (
        f"{counts}, {share.value:.1%} [{share.low:.1%}, {share.high:.1%}] "
        f"of all answers ({share.devices} devices, {clusters})"
    )


def _table(rows: tuple[Rerun, ...]) -> Table:
    """Return samples; what a device called them is text, never markup."""
    table = Table("device", "sample", "when (UTC)", "why", "device says", "reference says", "truth")
    for row in rows:
        when = datetime.fromtimestamp(row.at_s, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            row.device,
            Text(printable(row.sample)),
            when,
            Text(printable(row.policy)),
            _said(row.answered, row.confidence),
            _said(row.reference, row.reference_confidence),
            "" if row.truth is None else str(row.truth),
        )
    return table


def _said(number: int, confidence: float | None) -> str:
    return f"{number}" if confidence is None else f"{number} ({confidence:.2f})"
