"""One line on a terminal that is written over; a line now and then where it goes to a log."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from typing import Final, TextIO

from wire.deadline import Clock

_TERMINAL_EVERY_S: Final = 0.2
_LOG_EVERY_S: Final = 10.0
_ERASE: Final = "\r\x1b[K"


class ProgressLine:
    """Shows progress on `stream`, unless it is closed. `text` is asked for only when it is shown.

    `every_s` is how often on a terminal.
    """

    def __init__(
        self,
        stream: TextIO | None,
        clock: Clock = time.monotonic,
        *,
        every_s: float = _TERMINAL_EVERY_S,
    ) -> None:
        self.on_terminal = stream is not None and stream.isatty()
        self._stream = stream
        self._clock = clock
        self._every_s = every_s if self.on_terminal else _LOG_EVERY_S
        self._shown_s = clock() - (_TERMINAL_EVERY_S if self.on_terminal else 0.0)

    def update(self, text: Callable[[], str]) -> None:
        """Show `text()` if the last one is old enough."""
        if self._clock() - self._shown_s < self._every_s:
            return
        self._shown_s = self._clock()
        if self.on_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(_ERASE + text()[:width])
        else:
            self._write(text() + "\n")

    def clear(self) -> None:
        """Leave the terminal's line empty for what is printed next."""
        if self.on_terminal:
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # the work is worth more than the word about it
                self._stream.write(text)
                self._stream.flush()
