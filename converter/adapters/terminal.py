"""The report on a terminal, or in a log file: rich decides about colours, we about the width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.table import Table

from converter.report import TABLE_HEADER, Report, recall_table, table

#: Where there is no terminal to ask, the tables need this much.
_WIDTH: Final = 110


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that keeps numbers and paths as they are written."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal or console.is_dumb_terminal:
        console.width = _WIDTH
    return console


def show(console: Console, report: Report) -> None:
    """Print the comparison, the recall of each class, and the warnings."""
    title = f"{report.model}/{report.version}, {report.rows[0].evaluation.count} test samples"
    console.print(_table(title, TABLE_HEADER, table(report)))
    names = [row.name for row in report.rows]
    console.print(_table("Recall by class", ("class", *names), recall_table(report)))
    console.print("Latency is this machine's, one thread; ratio is against float32 TFLite.")
    console.print(f"Golden outputs reproduced on: {', '.join(report.runtimes)}")
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow")


class Stages:
    """Shows the stage that runs now, where somebody may be watching; says nothing in a log file."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("starting") if console.is_terminal else None

    def __call__(self, stage: str) -> None:
        if self._status is not None:
            self._status.update(stage)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show stages while the block runs."""
        if self._status is None:
            yield
            return
        with self._status:
            yield


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold")
    for position, name in enumerate(header):
        made.add_column(name, justify="right" if position else "left", no_wrap=position == 0)
    for row in rows:
        made.add_row(*row)
    return made
