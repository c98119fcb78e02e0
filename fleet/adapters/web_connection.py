"""What a connection to the page may cost: uvicorn's protocol, with an end to waiting and to their number.

Rules:
- whoever has asked for nothing in two looks, or has not said all of it, is sent away: uvicorn waits for ever
  for a first request, for the rest of one, and for its body, and a few hundred who never speak would keep
  everybody else out;
- an answer that is being made is never cut off;
- past `MOST` connections a new one is closed at once: each is a file, and the server's own run out with them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

MOST: Final = 400
LOOK_EVERY_S: Final = 15.0


def bounded(protocol: Any, *, most: int = MOST, look_every_s: float = LOOK_EVERY_S) -> Any:
    """Return the class of HTTP protocol (httptools' or h11's) with these limits."""

    class Bounded(protocol):  # type: ignore[misc]  # the class is known only when uvicorn has chosen it
        _looked_at: Any = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self._look_again()

        def _look_again(self) -> None:
            self.loop.call_later(look_every_s, self._look)

        def _look(self) -> None:
            cycle = self.cycle
            waits_for_client = cycle is None or cycle.response_complete or cycle.more_body
            if self.transport.is_closing():
                return
            if waits_for_client and cycle is self._looked_at:
                self.transport.abort()
                return
            self._looked_at = cycle
            self._look_again()

    return Bounded
