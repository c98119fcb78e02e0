"""Whether anything answers at an address, looked at beside everything else: a connection may take long."""

from __future__ import annotations

import socket
import threading
from typing import Final

from wire.adapters.paho_link import BrokerAddress

_CONNECT_S: Final = 10.0


class Reach:
    """Looks once, when it is first asked; `answers` is None until it is known."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._found: bool | None = None
        self._looking = False

    def answers(self) -> bool | None:
        """Return whether a TCP connection could be made."""
        if not self._looking:
            self._looking = True
            threading.Thread(target=self._look, name="reach", daemon=True).start()
        return self._found

    def _look(self) -> None:
        try:
            socket.create_connection((self._address.host, self._address.port), timeout=_CONNECT_S).close()
        except OSError:
            self._found = False
        else:
            self._found = True
