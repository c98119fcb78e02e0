"""The child processes of a tour: started with their output in a log, ended in order, whatever happens."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wire.adapters.processes import python_environment, python_module, tied
from wire.errors import EdgeflockError

_STOP_S: Final = 15.0
_LOG_LINES: Final = 5


class TourError(EdgeflockError):
    """The tour went wrong; says where to look."""


@dataclass
class Child:
    """One process that runs beside us."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code; one that does not end is killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def last_words(self) -> str:
        """Return the end of its log, for a person who has to find out why it died."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LOG_LINES:])


@dataclass
class Children:
    """All of them; the last one started is the first to be stopped."""

    logs: Path
    running: list[Child] = field(default_factory=list)

    def start(self, name: str, *arguments: str) -> Child:
        """Start `edgeflock ARGUMENTS` in a session of its own, so that Ctrl-C reaches only us."""
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                tied(python_module("edgeflock", *arguments)),
                env=python_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.running.append(child)
        return child

    def check(self) -> None:
        """Raise TourError when one of them has ended by itself."""
        for child in self.running:
            code = child.process.poll()
            if code is not None:
                raise TourError(f"{child.name} ended with code {code}; {child.log}:\n{child.last_words()}")

    def stop(self, children: list[Child]) -> dict[str, int]:
        """End some of them together; return their exit codes by name."""
        for child in children:
            if child.process.poll() is None:
                child.process.terminate()
        codes = {child.name: child.wait() for child in children}
        self.running = [child for child in self.running if child not in children]
        return codes

    def stop_all(self) -> None:
        for child in reversed(self.running):
            child.stop()
        self.running.clear()
