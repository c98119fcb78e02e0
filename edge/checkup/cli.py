"""`edgeflock doctor`: what this machine can do with models, and what slows it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.adapters.board import read_board
from edge.adapters.probing import installed_packages, probe_installed
from edge.checkup.diagnosis import Diagnosis, as_lines
from edge.checkup.doctor import diagnose
from edge.checkup.tune import Tuning, as_table, kernels_line, settings_lines, tune
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Looks at this machine as a place to run models on: what board it is, which interpreters are installed and
whether they compute rightly (each runs two tiny models, in a process of its own), whether XNNPACK, the
fast kernels, is really on, and what is slow about the machine: clock, heat, power, cores, memory. Nothing
is changed. It ends with 1 if something keeps models from running.

With --tune it measures a model of yours with more and more threads, and with more and more interpreters
side by side, and says which settings suit it. Do that on the board, with nothing else running.

example:
    edgeflock doctor
    edgeflock doctor --json | jq '.findings[] | select(.level == "slow")'
    edgeflock doctor --tune digits-2.bundle
"""

_SIGNS: Final = {"stops": "X", "slow": "!", "note": "-"}
_TUNE_S: Final = 20.0


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # every command's signature
    """Add `doctor` to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine can do, and what slows it",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--json", action="store_true", help="print it as JSON, for scripts")
    add(
        "--tune",
        type=Path,
        metavar="MODEL",
        help="measure this bundle or .tflite and say which settings suit",
    )
    add("--seconds", type=float, default=_TUNE_S, metavar="S", help="how long to measure (default: 20)")
    add("--backend", default="auto", help="measure with auto (default), ai-edge-litert or tflite-runtime")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.seconds <= 3600:
        raise SettingsError(f"--seconds {arguments.seconds:g}: give 1 to 3600")
    if arguments.tune is not None and not arguments.tune.is_file():
        found = "that is a folder" if arguments.tune.is_dir() else "there is no such file"
        raise SettingsError(f"--tune {arguments.tune}: {found}")
    _progress("looking at the machine and its interpreters")
    told = diagnose(read_board(), probe_installed(), installed_packages())
    tuning = None
    if arguments.tune is not None and told.can_infer:
        tuning = _tune(arguments, told.board.usable)
    _progress("")
    if arguments.json:
        print(json.dumps(as_json(told, tuning), indent=2, allow_nan=False))
    else:
        print("\n".join([*text_lines(told), *(tuning_lines(tuning) if tuning else ())]))
    return 0 if told.can_infer else 1


def _tune(arguments: argparse.Namespace, usable: int) -> Tuning:
    from edge.adapters.timing import Stopwatch  # numpy and threads only where they are asked for

    def tell(threads: int, pool: int) -> None:
        _progress(f"measuring {pool} x {threads} of at most {usable} threads")

    watch = Stopwatch(arguments.tune, arguments.backend, arguments.seconds, 2 * usable - 1, tell)
    return tune(usable, watch.measure)


def text_lines(told: Diagnosis) -> list[str]:
    """Return what is printed: facts, findings with their advice, and the rating."""
    lines = [f"{name:<14} {text}" for name, text in as_lines(told)]
    lines.append("")
    for finding in told.findings:
        lines.append(f"{_SIGNS[finding.level]} {finding.what}")
        if finding.advice:
            lines.append(f"  {finding.advice}")
    return [*lines, *([""] if told.findings else []), told.rating]


def tuning_lines(tuning: Tuning) -> list[str]:
    """Return what is printed of measurements."""
    late = [] if tuning.in_time else ["", "time was up before all was measured: give more --seconds"]
    return ["", kernels_line(tuning), "", *as_table(tuning), *late, "", *settings_lines(tuning)]


def as_json(told: Diagnosis, tuning: Tuning | None) -> dict[str, Any]:
    """Return the same as JSON has it."""
    made: dict[str, Any] = asdict(told)
    made["board"]["features"] = sorted(told.board.features)
    for probe in made["probes"]:
        probe["delegated"] = sorted(probe["delegated"])
    return {"rating": told.rating, "can_infer": told.can_infer, **made, "tuning": tuning and asdict(tuning)}


def _progress(line: str) -> None:
    """Show what happens now, on a terminal only; an empty line takes it away."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
