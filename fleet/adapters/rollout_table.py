"""Rollouts in a terminal: a row each, and a line for each device that is not simply done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fleet.plain_text import printable
from fleet.progress import STANDINGS, Part, Rollout

_STATES: Final = {"run": "green", "pause": "yellow", "abort": "red"}
_MOVING: Final = ("downloading", "trial", "probation")
_STYLES: Final = {"refused": "red", "silent": "yellow", **dict.fromkeys(_MOVING, "cyan")}

#: Devices that are told one by one; of more the counts must do.
_MOST_LINES: Final = 20


def rollout_view(rollouts: Iterable[Rollout]) -> Group:
    """Return the table of rollouts and, under it, what single devices do and why."""
    rollouts = list(rollouts)
    # What nobody is in takes no room: nine columns of zeros do not fit a terminal.
    shown = [s for s in STANDINGS if s == "done" or any(r.count(s) for r in rollouts)]
    table = Table(expand=False)
    for name in ("group", "release", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("wave", *shown):
        table.add_column(name, justify="right", no_wrap=True)
    lines: list[Text] = []
    for rollout in rollouts:
        table.add_row(
            rollout.group,
            rollout.release,
            Text(rollout.state, style=_STATES[rollout.state]),
            _wave(rollout),
            *(str(rollout.count(standing)) for standing in shown),
        )
        lines += _lines(rollout)
    if len(lines) > _MOST_LINES:
        more = len(lines) - _MOST_LINES
        lines = [*lines[:_MOST_LINES], Text(f"and {more} more devices: --json has them all")]
    return Group(table, *lines)


def _wave(rollout: Rollout) -> str:
    named = f"{len(rollout.canaries)} named" if rollout.canaries else ""
    if named and not rollout.percent:
        return named
    return f"{rollout.percent:g} %" + (f" + {named}" if named else "")


def _lines(rollout: Rollout) -> list[Text]:
    """Refusals first: they are what a person must act upon."""
    told = [part for part in rollout.parts if part.standing in _STYLES or part.reason]
    told.sort(key=lambda part: (part.standing != "refused", part.device))
    return [
        Text.assemble(
            f"{part.device} {rollout.release}: ",
            (part.standing, _STYLES.get(part.standing, "")),
            printable(_detail(part)),
        )
        for part in told
    ]


def _detail(part: Part) -> str:
    share = ""
    if part.total_chunks:
        percent = part.done_chunks * 100 // part.total_chunks
        share = f" {percent} % ({part.done_chunks} of {part.total_chunks} chunks)"
    return share + (f": {part.reason}" if part.reason else "")
