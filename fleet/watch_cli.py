"""`edgeflock fleet watch | logs`: the fleet in a terminal, as it is and as it was."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.rollout_table import rollout_view
from fleet.adapters.store_reading import StoreReading
from fleet.adapters.terminal import device_table, make_console
from fleet.plain_text import printable
from fleet.web import wording
from fleet.web.condition import GLYPHS, WORDS, condition
from fleet.web.overview import version_bar
from fleet.web.reading import DeviceNow, EventLine, Reading
from wire.errors import SettingsError

_REFRESH_S: Final = 1.0
_EVENTS: Final = 8
_MOST_EVENTS: Final = 10_000

#: Events of one second that are followed; a fleet that has more of them is not read by eye.
_FOLLOWED: Final = 1_000

#: Lines of the screen that are not devices: what stands above, the table's frame, rollouts and events.
_OTHER_LINES: Final = 12

_STYLES: Final = {
    "healthy": "green", "degraded": "yellow", "silent": "yellow", "frozen": "red", "offline": "red",
}  # fmt: skip

_WATCH_HELP = """\
Shows the whole fleet in the terminal and keeps showing it: how many devices are well, which versions they
run, rollouts, the devices that are not well first, and the last events. Ctrl-C ends it.

example:
    edgeflock fleet watch --state /srv/fleet
"""

_LOGS_HELP = """\
Shows what the models of devices went through: each transition with its cause, the newest last.

example:
    edgeflock fleet logs
    edgeflock fleet logs kitchen-1 --follow
    edgeflock fleet logs --json | jq 'select(.event.cause == "refused")'
"""


def add_watch(part: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the subcommands; `part` makes one with its --state."""
    part("watch", "keep showing the fleet", _WATCH_HELP, _run_watch)
    logs = part("logs", "show what models went through", _LOGS_HELP, _run_logs)
    logs.add_argument("device", nargs="?", help="of this device only")
    logs.add_argument("--last", type=int, default=50, metavar="N", help="how many (%(default)s)")
    logs.add_argument("--follow", action="store_true", help="go on as they come, until Ctrl-C")
    logs.add_argument("--json", action="store_true", help="print a JSON object a line")


@contextmanager
def _reading(state: Path) -> Iterator[Reading]:
    database = Database(state).open(create=False)
    try:
        yield StoreReading(database, Registry(database).open())
    finally:
        database.close()


def _run_watch(arguments: argparse.Namespace) -> int:
    console = make_console()
    with _reading(arguments.state) as reading, Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(screen(reading, max(3, console.height - _OTHER_LINES)), refresh=True)
            time.sleep(_REFRESH_S)


def screen(reading: Reading, lines: int) -> Group:
    """Return what `watch` shows, with at most `lines` devices."""
    devices = reading.devices()
    states = {device.name: condition(device).word for device in devices}
    worst = sorted(devices, key=lambda d: (WORDS.index(states[d.name]), d.name))
    rows = [row for device in worst for row in device.rows]
    left_out = f", the first {lines} of {len(rows)} rows" if len(rows) > lines else ""
    return Group(
        _summary(devices, states.values()),
        rollout_view(reading.rollouts()),
        device_table(rows[:lines], title=f"devices, the worst first{left_out}"),
        *(event_line(line) for line in reversed(reading.events(None, _EVENTS))),
    )


def _summary(devices: Iterable[DeviceNow], words: Iterable[str]) -> Text:
    words = list(words)
    parts = [
        (f"{GLYPHS[word]} {words.count(word)} {word}  ", _STYLES[word])
        for word in reversed(WORDS)
        if word in words
    ]
    bar = version_bar(row.current for device in devices for row in device.rows)
    versions = "  ".join(f"{printable(s.release)} {s.count}" for s in bar)
    return Text.assemble(*parts, versions)


def event_line(line: EventLine) -> Text:
    """Return one transition as a line."""
    event = line.event
    detail = f": {event.detail}" if event.detail else ""
    return Text.assemble(
        (wording.local(line.time_s), "dim"),
        printable(f" {line.device} {event.release or event.model} {event.before} → "),
        (printable(event.after), "bold"),
        (printable(f" ({event.cause}{detail})"), "dim"),
    )


def _run_logs(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.last <= _MOST_EVENTS:
        raise SettingsError(f"--last must be 1 to {_MOST_EVENTS}")
    console = make_console()
    with _reading(arguments.state) as reading:
        told, limit = 0, arguments.last
        while True:
            newest = reading.events(arguments.device, limit)
            for line in reversed(newest):
                if line.number > told:
                    _say(console.print, line, as_json=arguments.json)
            if not arguments.follow:
                return 0
            told, limit = newest[0].number if newest else 0, _FOLLOWED
            time.sleep(_REFRESH_S)


def _say(show: Callable[..., None], line: EventLine, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(line)), flush=True)
    else:
        show(event_line(line), soft_wrap=True)
