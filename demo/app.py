"""The tour, step by step.

One process conducts; everything that is shown is done by the project's own commands in children:
`convert`, `fleet init`, `fleet serve`, `fleet push`, and one `agent` for each device. This process only
reads the fleet's database, and so can neither help nor disturb.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from demo.processes import Child, Children, TourError
from demo.summary import Findings, problems, release_line
from fleet.adapters.broker import RunningBroker, free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.terminal import device_table, make_console
from fleet.view import DeviceRow
from wire.adapters.files import only_owner
from wire.adapters.paho_link import BrokerAddress
from wire.adapters.processes import python_environment, python_module, tied
from wire.deadline import Deadline
from wire.errors import SettingsError

_MODEL: Final = "digits"
_MARK: Final = ".edgeflock-demo"
_REFRESH_S: Final = 0.25
_UP_S: Final = 60.0
_SWAP_S: Final = 120.0
_CLEAN_UP_S: Final = 10.0

_DEVICE_TOML: Final = """\
[device]
name = "{name}"
state = {state}
[broker]
host = "{host}"
port = {port}
[trust]
root = {root}
[model]
name = "{model}"
[source]
kind = "npz"
path = {data}
rate_hz = {rate_hz}
[sink]
kind = "ndjson"
path = {results}
[telemetry]
interval_s = 1
sample_rate = 0.2
"""


@dataclass(frozen=True)
class TourSettings:
    """What a person may choose. `watch_s` is how long each version is watched at work."""

    folder: Path
    devices: int = 3
    rate_hz: float = 100.0
    watch_s: float = 6.0
    broker: str = "auto"
    keep: bool = False


class Tour:
    """One run. The constructor touches nothing; `run` returns the exit code."""

    def __init__(self, settings: TourSettings, console: Console | None = None) -> None:
        self._settings = settings
        self._console = console or make_console()
        self._folder = settings.folder
        self._children = Children(settings.folder / "logs")
        self._broker: RunningBroker | None = None
        self._database = Database(settings.folder / "fleet")
        self._swap_s: dict[str, float] = {}
        self._highest_rss_bytes: dict[str, int] = {}
        self._step = 0
        self._page = ("", "")

    def run(self) -> int:
        """Take the tour; every child has ended when this returns or raises."""
        for number in (signal.SIGTERM, signal.SIGINT):  # SIGINT too: a shell ignores it for a background job
            signal.signal(number, _raise_interrupt)
        self._check_folder()
        with only_owner(self._folder / _MARK, "demo"):
            return self._run()

    def _run(self) -> int:
        try:
            self._empty_folder()
            self._train()
            self._convert("1")
            self._convert("2")
            self._start_fleet()
            with self._live() as show:
                self._wait_for("devices online", _UP_S, lambda rows: self._all(rows, _is_online), show)
                self._roll_out("1", show)
                self._roll_out("2", show)
                if self._settings.keep:
                    self._keep(show)
            return self._conclude()
        finally:
            self._children.stop_all()
            self._database.close()
            if self._broker:
                self._broker.stop()

    # --- the steps ----------------------------------------------------------------------------

    def _check_folder(self) -> None:
        folder = self._folder
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"{folder} is a file: choose another --folder")
        if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
            raise SettingsError(f"{folder} holds something that is not a demo: choose another --folder")

    def _empty_folder(self) -> None:
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _MARK:
                path.unlink()
        (self._folder / "logs").mkdir()

    def _train(self) -> None:
        self._say("train a small Keras CNN on real handwritten digits (two versions)")
        arguments = ["--out-data", "digits.npz", "--out-v1", "digits-1.keras", "--out-v2", "digits-2.keras"]
        self._do("train", python_module("demo.train", *self._in_folder(arguments)))

    def _convert(self, version: str) -> None:
        self._say(f"convert version {version}: the smallest form that keeps its accuracy")
        arguments = ["convert", f"digits-{version}.keras", "--data", "digits.npz"]
        arguments += ["--out", f"digits-{version}.bundle"]
        arguments = [*self._in_folder(arguments), "--name", _MODEL, "--version", version]
        self._do("convert", python_module("edgeflock", *arguments))

    def _start_fleet(self) -> None:
        address = BrokerAddress("127.0.0.1", free_port())
        self._broker = start_broker(self._folder / "broker", address, kind=self._settings.broker)
        self._say(
            f"start the broker ({self._broker.kind}, {address}), "
            f"the fleet server and {self._settings.devices} devices"
        )
        state = str(self._folder / "fleet")
        said = self._quietly("fleet", "init", "--plain", "--state", state)
        page = f"127.0.0.1:{free_port()}"
        self._page = (f"http://{page}/", said.splitlines()[-1])  # the last line is how to log in
        serve = ["fleet", "serve", "--state", state, "--broker", str(address), "--web", page]
        self._children.start("server", *serve)
        for number in range(1, self._settings.devices + 1):
            name = f"pi-{number}"
            self._children.start(name, "agent", str(self._write_device(name, address)))

    def _roll_out(self, version: str, show: Callable[[str], list[DeviceRow]]) -> None:
        release = f"{_MODEL}/{version}"
        self._say(f"push {release} while the streams run")
        start = time.monotonic()
        self._push(version)
        self._wait_for(
            f"{release} on every device",
            _SWAP_S,
            lambda rows: self._all(rows, lambda row: row.current == release),
            show,
        )
        self._swap_s[release] = time.monotonic() - start
        watched = Deadline.after(self._settings.watch_s)
        self._wait_for(
            f"{release} at work",
            _SWAP_S,
            lambda rows: watched.passed and self._all(rows, lambda row: row.state == "idle"),
            show,
        )

    def _push(self, version: str) -> None:
        bundle, state = (str(self._folder / name) for name in (f"digits-{version}.bundle", "fleet"))
        self._console.print("   " + self._quietly("fleet", "push", bundle, "--state", state))

    def _quietly(self, *arguments: str) -> str:
        """Run a command of ours to its end and return what it said; raise TourError when it fails."""
        done = subprocess.run(
            tied(python_module("edgeflock", *arguments)),
            env=python_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        said = (done.stdout + done.stderr).strip()
        if done.returncode:
            raise TourError(f"{' '.join(arguments[:2])} failed: {said}")
        return said

    def _keep(self, show: Callable[[str], list[DeviceRow]]) -> None:
        self._say(
            f"left running: try `edgeflock fleet devices --state {self._folder / 'fleet'}`; Ctrl-C ends it"
        )
        self._console.print(f"   the fleet's page: {self._page[0]}\n   {self._page[1]}", markup=False)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                show("kept running")
                self._children.check()
                time.sleep(_REFRESH_S)

    def _conclude(self) -> int:
        devices = [child for child in self._children.running if child.name != "server"]
        self._say("end the devices and check that every message is accounted for")
        exit_codes = self._children.stop(devices)
        reader = FleetReader(self._database)
        findings = Findings(
            rows=reader.rows(),
            wanted=f"{_MODEL}/2",
            ledger=reader.ledger(),
            answered={child.name: self._answered(child) for child in devices},
            exit_codes=exit_codes,
            refusals=reader.refusals(),
        )
        found = problems(findings)
        self._tell(reader, findings)
        for problem in found:
            self._console.print(f"   problem: {problem}", markup=False)
        self._console.print(
            "demo failed" if found else "demo succeeded", style="bold red" if found else "bold green"
        )
        return 1 if found else 0

    def _tell(self, reader: FleetReader, findings: Findings) -> None:
        say = self._console.print
        totals = reader.totals()
        for release, seconds in self._swap_s.items():
            mine = [by_release[release] for by_release in totals.values() if release in by_release]
            say(f"   {release_line(release, mine)}", highlight=False)
            say(f"   {release}: {seconds:.1f} s from push to the last device swapped", highlight=False)
        ledger = findings.ledger
        lost = sum(row.errors + row.dropped for row in findings.rows)
        rss = ", ".join(f"{d} {b / 1e6:.0f} MB" for d, b in sorted(self._highest_rss_bytes.items()))
        say(f"   highest RSS of a device: {rss}", highlight=False)
        say(
            f"   {ledger.inferences:,} inferences, {lost} failed or dropped; {ledger.messages:,} messages in "
            f"the store, {len(ledger.problems)} unaccounted for",
            highlight=False,
        )

    # --- small things -------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._step += 1
        self._console.print(f"{self._step}. {text}", style="bold", highlight=False)

    def _do(self, name: str, command: list[str]) -> None:
        """Run a step in the foreground, in its own words; it may clean up when we are interrupted."""
        with subprocess.Popen(tied(command), env=python_environment()) as child:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)
                child.wait(_CLEAN_UP_S)
                raise
        if code:
            raise TourError(f"{name} failed with code {code}")

    def _in_folder(self, arguments: list[str]) -> list[str]:
        return [str(self._folder / a) if "digits" in a else a for a in arguments]

    def _write_device(self, name: str, address: BrokerAddress) -> Path:
        path = self._folder / f"{name}.toml"
        text = _DEVICE_TOML.format(
            name=name,
            model=_MODEL,
            host=address.host,
            port=address.port,
            rate_hz=self._settings.rate_hz,
            state=json.dumps(str(self._folder / name)),  # a JSON string is a TOML one
            root=json.dumps(str(self._folder / "fleet" / "root.json")),
            data=json.dumps(str(self._folder / "digits.npz")),
            results=json.dumps(str(self._folder / f"{name}.ndjson")),
        )
        path.write_text(text, encoding="utf-8")
        return path

    @contextlib.contextmanager
    def _live(self) -> Iterator[Callable[[str], list[DeviceRow]]]:
        """Show the table of devices while the block runs; its function refreshes it and returns the rows."""
        self._open_database()
        reader = FleetReader(self._database)
        with Live(console=self._console, auto_refresh=False) as live:

            def show(title: str) -> list[DeviceRow]:
                rows = reader.rows()
                for row in rows:
                    highest = max(row.rss_bytes or 0, self._highest_rss_bytes.get(row.device, 0))
                    self._highest_rss_bytes[row.device] = highest
                if self._console.is_terminal:
                    live.update(device_table(rows, title=title), refresh=True)
                return rows

            yield show

    def _open_database(self) -> None:
        deadline = Deadline.after(_UP_S)
        while not (self._database.state / "fleet.db").exists():
            self._children.check()
            if deadline.passed:
                raise TourError("the fleet server did not start")
            time.sleep(_REFRESH_S)
        self._database.open()

    def _wait_for(
        self,
        what: str,
        seconds: float,
        condition: Callable[[list[DeviceRow]], bool],
        show: Callable[[str], list[DeviceRow]],
    ) -> None:
        deadline = Deadline.after(seconds)
        while not condition(show(what)):
            self._children.check()
            if deadline.passed:
                raise TourError(f"{what}: not within {seconds:.0f} s; the logs are in {self._children.logs}")
            time.sleep(_REFRESH_S)
        if not self._console.is_terminal:  # a log cannot be redrawn: one table for each thing reached
            self._console.print(device_table(show(what), title=what))

    def _all(self, rows: list[DeviceRow], condition: Callable[[DeviceRow], bool]) -> bool:
        return len(rows) == self._settings.devices and all(map(condition, rows))

    def _answered(self, device: Child) -> list[int]:
        path = self._folder / f"{device.name}.ndjson"
        with path.open(encoding="utf-8") as lines:
            return [int(json.loads(line)["id"]) for line in lines]


def _is_online(row: DeviceRow) -> bool:
    return row.presence == "online" and row.state is not None


def _raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
