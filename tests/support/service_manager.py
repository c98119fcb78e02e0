"""Starts a device's agent anew when it ends, as systemd does, and ends one that says that it hangs."""

from __future__ import annotations

import threading
from typing import Final

from tests.support.local_fleet import LocalFleet

#: What spoilt software prints before it hangs; a service manager would notice by its watchdog.
HANGS: Final = "hangs from here on"


class ServiceManager(threading.Thread):
    """Of one device, while the block runs. `starts` counts those that it made."""

    def __init__(self, fleet: LocalFleet, device: str = "pi-1") -> None:
        super().__init__()
        self._fleet, self._device = fleet, device
        self._ended = threading.Event()
        self.starts = self._kills = 0

    def __enter__(self) -> ServiceManager:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        log = self._fleet.folder / f"{self._device}.log"
        while not self._ended.wait(0.05):
            process = self._fleet.processes[self._device]
            if log.read_text(errors="replace").count(HANGS) > self._kills:
                process.kill()
                self._kills += 1
            if process.poll() is not None:
                self._fleet.start_device(self._device)
                self.starts += 1
