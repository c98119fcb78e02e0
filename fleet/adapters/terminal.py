"""The fleet in a terminal: one table, the same for `fleet devices`, `--watch` and the demo; and progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from fleet.plain_text import printable
from fleet.releasing import Begin, quiet
from fleet.view import DeviceRow

_UNKNOWN = "-"
_STYLES = {"online": "green", "silent": "yellow", "offline": "red"}


def make_console() -> Console:
    """Return a console that is readable in a log file too: rich would fold at 80 columns there."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130, no_color=True)
    return console


def device_table(rows: Iterable[DeviceRow], *, title: str | None = None) -> Table:
    """Return the table of devices."""
    table = Table(title=title, title_justify="left", expand=False)
    for name in ("device", "", "model", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("inf/s", "p50", "p99", "accuracy (95 %)", "CPU", "RSS", "temp", "lost"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.device,
            Text(row.presence, style=_STYLES[row.presence])
            + Text(" (old metadata)" if row.stale_metadata else "", style="yellow"),
            Text(printable(row.current or (f"{row.model}/{_UNKNOWN}" if row.model else _UNKNOWN))),
            _state(row),
            _number(row.rate_hz, "{:.0f}"),
            _micros(row.p50_us),
            _micros(row.p99_us),
            _accuracy(row),
            _number(row.process_cpu_percent, "{:.0f} %"),
            _number(row.rss_bytes and row.rss_bytes / 1e6, "{:.0f} MB"),
            _number(row.temperature_c, "{:.0f} °C"),
            str(row.errors + row.dropped),
        )
    return table


def keep_showing(console: Console, look: Callable[[], RenderableType], every_s: float) -> NoReturn:
    """Show what `look` returns, anew every `every_s` seconds, until Ctrl-C."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(look(), refresh=True)
            time.sleep(every_s)


@contextmanager
def steps_shown(*, in_bytes: bool = False) -> Iterator[Begin]:
    """Show how far each step is that is begun, as a bar on standard error: on a terminal, or not at all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield quiet
        return
    amounts = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (TaskProgressColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield lambda step: partial(_show_step, progress, progress.add_task(step))


def _show_step(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _state(row: DeviceRow) -> Text:
    if row.state is None:
        return Text(_UNKNOWN)
    text = row.state
    if row.state == "download" and row.total_chunks:
        text = f"{row.target} {row.done_chunks * 100 // row.total_chunks} %"
    elif row.state not in ("idle", "blocked") and row.target:
        text = f"{row.state} {row.target}"
    if row.error:
        return Text(printable(f"{text}: {row.error}")[:60], style="red")
    return Text(printable(text))


def _accuracy(row: DeviceRow) -> str:
    if row.accuracy is None or row.accuracy_low is None or row.accuracy_high is None:
        return _UNKNOWN
    return f"{row.accuracy * 100:.1f} % [{row.accuracy_low * 100:.1f}, {row.accuracy_high * 100:.1f}]"


def _micros(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:.0f} µs" if value < 10_000 else f"{value / 1000:.1f} ms"


def _number(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else form.format(value)
