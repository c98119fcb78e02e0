"""The report on a terminal, or in a log file: rich decides about colours, we about the width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from converter.report import Report
from converter.report_facts import delegate_line, update_line
from converter.report_forms import forms_table
from converter.report_tables import entries_table, entry_reasons, recall_table
from converter.table import Table, plain

#: Where there is no terminal to ask, the tables need this much.
_WIDTH: Final = 110
#: Names and labels are folded at this; the width in which nothing has to be.
_TEXT_WIDTH: Final = 64
_ENDLESS: Final = 10_000
#: So many forms are tried by default: less is no search, and says nothing that the comparison does not.
_DEFAULT_ENTRIES: Final = 4
#: Epochs and levels take unequally long: the time left is told from so much of the past.
_ESTIMATE_S: Final = 120.0


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that keeps numbers and paths as they are written."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal or console.is_dumb_terminal:
        console.width = _WIDTH
    return console


def show(console: Console, report: Report) -> None:
    """Print what a person decides by: the comparison, the search, recall by class, and the warnings."""
    console.print(plain(f"{report.model}/{report.version}: {report.shipped}"), style="bold")
    print_table(console, forms_table(report, full=False))
    if report.budget is not None or len(report.entries) > _DEFAULT_ENTRIES:
        print_table(console, entries_table(report, full=False))
        if reasons := entry_reasons(report):
            console.print("\n".join(f" {reason}" for reason in reasons), end="\n\n")
    print_table(console, recall_table(report))
    console.print(f"Latency is this machine's, one thread; a point is {report.point_meaning}.")
    console.print(f"Golden outputs reproduced on: {', '.join(report.runtimes)}")
    for name, line in (("Update", update_line(report)), ("Operators", delegate_line(report))):
        if line:
            console.print(plain(f"{name}: {line}"))
    for note in report.notes:
        console.print(plain(f"note: {note}"))
    for warning in report.warnings:
        console.print(plain(f"warning: {warning}"), style="yellow")


def print_table(console: Console, table: Table | None) -> None:
    """Print `table`, its figures to the right; nothing when there is none.

    Figures are never cut or folded: on a terminal too narrow for them the lines go on.
    """
    if table is None:
        return
    made = RichTable(
        title=plain(table.title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False
    )
    for position, name in enumerate(table.header):
        widest = max((len(row[position]) for row in table.rows), default=0)
        header = textwrap.fill(name, max(widest, *map(len, name.split()), 1)) if name else ""
        if position == 0 or position in table.texts:
            made.add_column(header, max_width=_TEXT_WIDTH, overflow="fold")
        else:
            made.add_column(header, justify="right", no_wrap=True)
    for position, row in enumerate(table.rows):
        made.add_row(*row, style="bold" if position in table.marked else "")
    wide = Measurement.get(console, console.options.update(width=_ENDLESS), made).maximum
    console.print(made, width=wide, crop=False)
    console.print()


def print_pairs(console: Console, pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and, in one column beside them, their texts."""
    wide = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        console.print(f"{name:{wide}s}  {text}")


class Stages:
    """Shows the stage that runs now, where somebody may be watching; says nothing in a log file.

    A stage whose end is not known turns and counts seconds; one that tells its share has a bar, a
    percentage and the time that is left.
    """

    def __init__(self, console: Console) -> None:
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                _Stage(table_column=Column(no_wrap=True, overflow="ellipsis")),
                _Known(BarColumn(bar_width=30)),
                _Known(TaskProgressColumn()),
                _Clock(),
                console=console,
                transient=True,
                speed_estimate_period=_ESTIMATE_S,
            )
            self._task = self._progress.add_task("starting", total=None)
            self._stage = "starting"

    def __call__(self, stage: str, done: float | None = None) -> None:
        """Show `stage`, a few words, and the share of it that is done, 0 to 1."""
        if self._progress is None:
            return
        total = None if done is None else 1.0
        if stage != self._stage:  # a task of its own, for its own clock
            ended, self._stage = self._task, stage
            self._task = self._progress.add_task(stage, total=total)
            self._progress.remove_task(ended)
        if done is not None:
            self._progress.update(self._task, total=total, completed=done)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show stages while the block runs."""
        if self._progress is None:
            yield
            return
        with self._progress:
            yield


class _Stage(ProgressColumn):
    """The stage in words: names of files may stand in them, so nothing is read as markup."""

    def render(self, task: Task) -> Text:
        return Text(plain(task.description))


class _Known(ProgressColumn):
    """Another column, where the share that is done is known; else nothing."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return "" if task.total is None else self._column.render(task)


class _Clock(ProgressColumn):
    """The seconds that are left, or those that went by where that is not known."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{task.elapsed or 0:.0f} s", style="dim")
        left_s = task.time_remaining
        if left_s is None:
            return Text("")
        return Text(f"{left_s:.0f} s left" if left_s < 100 else f"{left_s / 60:.0f} min left", style="dim")
