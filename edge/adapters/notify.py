"""systemd, as the agent talks to it (sd_notify(3)). Silent where there is no systemd."""

from __future__ import annotations

import os
import socket
from typing import Final

_LONGEST_STATUS: Final = 400
#: Until other software is ready; as long as the unit gives a start.
_RESTART_S: Final = 180


class ServiceManager:
    """Hears whether the agent is ready, alive and stopping, and what it does now. Any thread may call."""

    def __init__(self) -> None:
        self._status = ""

    def starting(self, what: str, seconds: float) -> None:
        """Say what the start is at, and that this may take so long; it must not count as a start that hangs.

        Each step has its own limit, and none is renewed: a load that never ends still ends the start. Where
        other software begins in the place of this one, the service is started already, and it is the watchdog
        that has to wait.
        """
        self.status(what)
        usec = int(seconds * 1e6)
        watchdog = f"\nWATCHDOG_USEC={usec}" if "WATCHDOG_USEC" in os.environ else ""
        notify(f"EXTEND_TIMEOUT_USEC={usec}{watchdog}")

    def ready(self) -> None:
        """Say that this process serves, and put the watchdog back to what the unit says."""
        usec = os.environ.get("WATCHDOG_USEC")
        notify(f"READY=1\nWATCHDOG_USEC={usec}" if usec else "READY=1")

    def restarting(self) -> None:
        """Say that this process begins anew, as other software: the watchdog is to wait for a start."""
        notify(f"WATCHDOG=1\nWATCHDOG_USEC={_RESTART_S * 1_000_000}\nSTATUS=starting other software")

    def alive(self) -> None:
        notify("WATCHDOG=1")

    def stopping(self) -> None:
        notify("STOPPING=1\nSTATUS=ending: what was answered is sent")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows, unless it is that already."""
        # One line: it holds what bundles and exceptions said, and the next line would be an order to systemd.
        line = " ".join(text.split())[:_LONGEST_STATUS]
        if line != self._status:
            self._status = line
            notify(f"STATUS={line}")


def notify(state: str) -> None:
    """Send lines such as `READY=1` to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            sock.send(state.encode("utf-8", "replace"))
    except OSError:  # the manager went away; there is nobody to tell
        return
