"""Metadata files on their way from retained topics to a client that wants to read them at once.

The TUF client is synchronous and the control thread waits for nobody. So the client reads from here:
what is not known yet raises `MissingFileError`, the file is asked for, and when it has come, or is known
to be absent, the client is run again from the start. That costs milliseconds and changes nothing.

Rules:
- exact topics only; a broker answers for an absent one with silence, so an echo is sent behind each
  SUBSCRIBE: retained messages come before it, and what has not come by then is absent;
- an absent file stays subscribed: when it appears it is pushed, so nothing is polled;
- a new connection knows nothing of what is absent;
- a file holds at most what a message may, and a byte more, which the client refuses by its own rules.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from wire.messages import MAX_PAYLOAD_BYTES

#: A chain of 256 roots, the four others, and some delegated ones.
MAX_FILES: Final = 300

#: An echo that has not come by then is sent again, behind the questions that it was for.
ECHO_AFTER_S: Final = 15.0


class MissingFileError(Exception):
    """Internal: `file` is not known yet, and has been put on the list of what to ask for."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.file = file


class TooManyFilesError(Exception):
    """One refresh asked for more files than any honest repository has."""


@dataclass
class _File:
    """What is known of one file. `asked` is the number of the echo behind its SUBSCRIBE; 0 is not yet."""

    asked: int = 0
    again: bool = False
    payload: bytes | None = None
    absent: bool = False

    @property
    def known(self) -> bool:
        return self.absent or self.payload is not None


@dataclass(frozen=True)
class Ask:
    """What to do now: unsubscribe from `again`, subscribe to `files`, and send echo `echo` behind them."""

    files: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    echo: int | None = None


class MetadataFiles:
    """The files of one device. `settled` is the number of the last echo that came back."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._read: set[str] = set()  # since files were last forgotten
        self._number = 0
        self._echo_due = False
        self._echo_sent_s: float | None = None
        self.settled = 0

    def read(self, file: str) -> bytes | None:
        """Return the file, or None when there is none; raise MissingFileError when that is not known."""
        self._read.add(file)
        found = self._files.get(file)
        if found is None:
            if len(self._files) >= MAX_FILES:
                raise TooManyFilesError(f"more than {MAX_FILES} metadata files asked for")
            self._files[file] = _File()
            raise MissingFileError(file)
        if not found.known:
            raise MissingFileError(file)
        return found.payload

    def ask_again(self, file: str) -> int:
        """Have `file` sent once more; return the number of the echo by which it is here."""
        found = self._files.setdefault(file, _File())
        found.again = found.asked > 0
        found.asked = 0
        return self._number + 1

    def next(self, now_s: float) -> Ask:
        """Return what to ask for at `now_s`, and count it as asked."""
        if self._echo_sent_s is not None and now_s - self._echo_sent_s > ECHO_AFTER_S:
            self._start_over()
        files = tuple(name for name, file in self._files.items() if not file.asked)
        again = tuple(name for name in files if self._files[name].again)
        if files:
            self._number += 1
            self._echo_due = True
        for name in files:
            self._files[name].asked, self._files[name].again = self._number, False
        return Ask(files, again, self._number if self._echo_due else None)

    def echo_sent(self, now_s: float) -> None:
        """Take note that the link took the echo."""
        self._echo_due = False
        self._echo_sent_s = now_s

    def take(self, file: str, payload: bytes) -> bool:
        """Take a file that arrived; return whether it is news. One that nobody asked for is ignored."""
        found = self._files.get(file)
        if found is None:
            return False
        known = (found.payload, found.absent)
        # An empty retained message is how a topic is cleared.
        found.payload, found.absent = payload[: MAX_PAYLOAD_BYTES + 1] or None, not payload
        return (found.payload, found.absent) != known

    def echoed(self, number: int) -> bool:
        """Take note of an echo; return whether something is known now that was not before."""
        if not self.settled < number <= self._number:
            return False
        self.settled = number
        if number == self._number:
            self._echo_sent_s = None
        silent = [f for f in self._files.values() if 0 < f.asked <= number and not f.known]
        for file in silent:
            file.absent = True
        return True

    def keep(self, files: Collection[str]) -> list[str]:
        """Forget what has arrived, but for `files`; return the topics' files to unsubscribe from.

        What was looked for since the last time and is absent stays: it may appear.
        """
        gone = [
            name
            for name, file in self._files.items()
            if name not in files and not (file.absent and name in self._read)
        ]
        for name in gone:
            del self._files[name]
        self._read.clear()
        return gone

    def forget(self) -> list[str]:
        """Forget all of it; return the topics' files to unsubscribe from."""
        self._read.clear()
        return self.keep(())

    def link_lost(self) -> None:
        """Ask for all of it anew on the next connection: much may happen until then."""
        self._start_over()

    def _start_over(self) -> None:
        self._echo_due, self._echo_sent_s = False, None
        for file in self._files.values():
            file.again, file.asked, file.absent = file.asked > 0, 0, False
