"""A fleet with certificates, of real processes: `fleet init`, `serve`, `enroll` and `agent`."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import IO

from cryptography import x509

from fleet.adapters.broker import free_port
from fleet.adapters.broker_files import BrokerFiles
from tests.support.local_fleet import ROOT, edgeflock, run
from wire.deadline import Deadline, wait_until

_DEVICE = """\
[device]
name = "{name}"
state = "{state}"
[broker]
host = "127.0.0.1"
port = {port}
claim_port = {claim_port}
ca = "{ca}"
claim = "claim-token"
[model]
name = "digits"
[trust]
root = "{root}"
[telemetry]
interval_s = 1
"""


class Locked:
    """A fleet with certificates; `stop` ends whatever still runs."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        """Make the fleet; `hosts` are names of its broker beside 127.0.0.1."""
        self.folder, self.state = folder, folder / "fleet"
        self.port, self.claim_port = free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self.command(
            "fleet", "init", "--state", self.state, "--bind", "127.0.0.1",
            *(word for host in hosts for word in ("--host", host)),
            "--port", str(self.port), "--claim-port", str(self.claim_port),
        )  # fmt: skip
        self.files = BrokerFiles(self.state)

    def command(self, *arguments: str | Path, code: int = 0) -> str:
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def serve(self, *options: str) -> None:
        self.start("server", "fleet", "serve", "--state", self.state, *options)
        self.wait("the server", lambda: "serving the fleet" in self.log("server"))

    def prepare(self, name: str, device: str = "") -> None:
        """Do what `flash` does: settings and a claim token, by default the device's own."""
        folder = self.folder / name
        folder.mkdir()
        token = folder / "claim-token"
        self.command("fleet", "enroll", device or name, "--state", self.state, "--out", token)
        settings = _DEVICE.format(
            name=name,
            state=folder / "state",
            port=self.port,
            claim_port=self.claim_port,
            ca=self.files.broker_ca,
            root=self.state / "root.json",
        )
        (folder / "device.toml").write_text(settings)

    def start_device(self, name: str) -> None:
        self.start(name, "agent", self.folder / name / "device.toml")

    def identity(self, name: str) -> Path:
        return self.folder / name / "state" / "identity.pem"

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.identity(name).read_bytes())

    def presence(self, name: str) -> str:
        rows = json.loads(self.command("fleet", "devices", "--json", "--state", self.state))
        return next((row["presence"] for row in rows if row["device"] == name), "unknown")

    def start(self, name: str, *arguments: str | Path) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        self.processes[name] = subprocess.Popen(edgeflock(*arguments), cwd=ROOT, stdout=log, stderr=log)

    def end(self, name: str) -> int:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, what: str, condition: object, seconds: float = 60) -> None:
        assert callable(condition)
        if not wait_until(condition, Deadline.after(seconds), every_s=0.1):
            logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in (*self.processes, "server"))
            raise AssertionError(f"{what}: not within {seconds} s\n{logs}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)
        for log in self._logs:
            log.close()
