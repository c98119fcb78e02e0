"""A fleet of real processes on this machine: broker, server and devices, each of which a test may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from fleet.adapters.broker import RunningBroker, find_mosquitto, free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.view import DeviceRow, one_each
from wire.adapters.paho_link import BrokerAddress
from wire.deadline import Deadline, wait_until

ROOT: Final = Path(__file__).parents[2]

BROKERS: Final = ["mosquitto", "embedded"] if find_mosquitto() else ["embedded"]

_DEVICE: Final = """\
[device]
name = "{name}"
state = "{folder}/{name}"
[broker]
port = {port}
{trust}
{models}
[source]
kind = "npz"
path = "{data}"
rate_hz = 50
{source}
[sink]
kind = "ndjson"
path = "{folder}/{name}.ndjson"
[telemetry]
interval_s = 0.5
sample_rate = 0.2
"""


def edgeflock(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "edgeflock", *map(str, arguments)]


def run(
    *arguments: str | Path, timeout_s: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    return subprocess.run(
        edgeflock(*arguments),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class LocalFleet:
    """Starts and kills; `stop` ends whatever still runs."""

    def __init__(self, folder: Path, data: Path, broker_kind: str) -> None:
        self.folder, self.data, self.broker_kind = folder, data, broker_kind
        self.state = folder / "fleet"
        #: The [trust] table of devices that are started; a fleet without keys sets it before the server.
        self.trust = f'[trust]\nroot = "{self.state}/root.json"'
        #: Further lines of the [source] table of devices that are started.
        self.source = ""
        self.address = BrokerAddress("127.0.0.1", free_port())
        self.device_port = self.address.port  # where devices connect: a test may put something between
        self.broker: RunningBroker | None = None
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._database: Database | None = None

    def start_broker(self) -> None:
        self.broker = start_broker(self.folder / "broker", self.address, kind=self.broker_kind)

    def kill_broker(self) -> None:
        """SIGKILL: what it had not saved is gone."""
        assert self.broker is not None
        self.broker.process.kill()
        self.broker.process.wait()

    def start_server(self) -> None:
        unsigned = ["--unsigned"] if "unsigned" in self.trust else []
        if not unsigned and not (self.state / "root.json").exists():
            self.do("init", "--plain")
        address = str(self.address)
        self._start(
            "server", "fleet", "serve", "--no-web", "--state", self.state, "--broker", address, *unsigned
        )
        self.wait("the server's database", (self.state / "fleet.db").exists)

    def start_device(self, name: str = "pi-1", *, model: str = "", models: str = "", more: str = "") -> None:
        """Start a device; `model` are further lines of its [model] table, `more` further tables.

        `models` are several [[model]] tables instead.
        """
        path = self.folder / f"{name}.toml"
        text = _DEVICE.format(
            name=name,
            folder=self.folder,
            data=self.data,
            port=self.device_port,
            source=self.source,
            models=models or f'[model]\nname = "digits"\n{model}',
            trust=self.trust,
        )
        path.write_text(text + more)
        self._start(name, "agent", path)

    def kill(self, name: str) -> None:
        """SIGKILL, as a power cut that the disk survives."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> int:
        """SIGTERM; return the exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def push(self, bundle: Path, *options: str) -> None:
        self.do("push", bundle, *options)

    def do(self, command: str, *arguments: str | Path) -> None:
        """Run a command of `edgeflock fleet` that must succeed."""
        done = run("fleet", command, *arguments, "--state", self.state)
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        if self.broker:
            self.broker.stop()
        if self._database:
            self._database.close()
        for log in self._logs:
            log.close()

    @property
    def reader(self) -> FleetReader:
        if self._database is None:
            self._database = Database(self.state).open()
        return FleetReader(self._database)

    def row(self, device: str = "pi-1", model: str = "digits") -> DeviceRow:
        """Return what the server knows of a model on a device, or an empty row."""
        found = one_each(self.reader.rows(), model)
        return next((r for r in found if r.device == device), DeviceRow(device, "offline"))

    def answered(self, device: str = "pi-1") -> list[str]:
        """Return the releases of a device's answers, one each."""
        path = self.folder / f"{device}.ndjson"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["release"] for line in lines if line.endswith("}")]

    def wait(self, what: str, condition: object, seconds: float = 60) -> None:
        assert callable(condition)
        if not wait_until(condition, Deadline.after(seconds), every_s=0.05):
            logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in ("server", "pi-1"))
            raise AssertionError(f"{what}: not within {seconds} s\n{logs}")

    def wait_for_release(self, release: str, device: str = "pi-1") -> None:
        def settled() -> bool:
            row = self.row(device, release.partition("/")[0])
            return (row.current, row.state) == (release, "idle")

        self.wait(f"{device} on {release}", settled)

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def _start(self, name: str, *arguments: str | Path) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        self.processes[name] = subprocess.Popen(edgeflock(*arguments), cwd=ROOT, stdout=log, stderr=log)
