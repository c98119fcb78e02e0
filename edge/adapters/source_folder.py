"""Samples from a watched folder: each new image, WAV, npy or JSON file is one.

Rules:
- a file is complete when no process has it open for writing (asked of the kernel with a read lease,
  where the file system has them) and two looks found the same size and time;
- once its answer is safe in every sink, a file moves into `done/`, one that is no sample into
  `refused/`: a restart does not answer it twice. A kill between answer and move has it answered
  once more, never not at all;
- a file on which the model failed stays, and is tried again by the next start;
- other files, hidden ones and subfolders are left alone. The oldest file goes first.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edge.adapters.decoding import Intake
from edge.adapters.sources import IDLE
from edge.online.streams import file_kind
from edge.results import Sample
from wire.errors import BundleError, DataError, InputError, ModelError, SettingsError

_LOOK_EVERY_S: Final = 0.25
_DONE: Final = "done"
_REFUSED: Final = "refused"


@dataclass(frozen=True)
class _Look:
    """What a look at a file found; two equal ones make it complete."""

    size: int
    modified_ns: int
    inode: int


class FolderSource:
    """Watches one folder. `samples` belongs to the inference thread; `settle` may be called by any.

    With `settle_on_next` a file counts as answered when the next sample is asked for.
    """

    def __init__(self, folder: Path, intake: Intake, *, settle_on_next: bool) -> None:
        self._folder = folder
        self._decoder = intake.decoder
        self._tally = intake.tally
        self._stop = intake.stop
        self._settle_on_next = settle_on_next
        self._seen: dict[str, _Look] = {}
        self._given: set[str] = set()  # names that are with the model or the sinks
        self._open: dict[int, tuple[Path, _Look]] = {}  # by token
        self._tokens = itertools.count(1)
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folders; raise SettingsError when answered files could not be moved."""
        try:
            for name in (_DONE, _REFUSED):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{self._folder} cannot be watched: {error.strerror}") from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise SettingsError(f"{self._folder} must be writable: answered files are moved into {_DONE}/")

    def samples(self) -> Iterator[Sample]:
        """Yield the files as samples until told to stop, and IDLE between two looks."""
        while not self._stop.is_set():
            found = False
            for path in self._complete():
                sample = self._read(path)
                if sample is None:
                    continue
                found = True
                yield sample
                if self._settle_on_next:
                    self.settle(sample.token)
                if self._stop.is_set():
                    return
            if not found:
                yield IDLE
                self._stop.wait(_LOOK_EVERY_S)

    def settle(self, token: int) -> None:
        """Note that the answer is where it should be: the file moves into done/."""
        self._leave(token, _DONE)

    def refuse(self, token: int) -> None:
        """Note that the sample does not fit the model: the file moves into refused/."""
        self._leave(token, _REFUSED)

    def _complete(self) -> list[Path]:
        """Return the files that are whole and new, oldest first."""
        found: list[tuple[int, str]] = []
        looks: dict[str, _Look] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                look = _look(Path(entry.path)) if self._is_ours(entry) else None
                if look is None:
                    continue
                looks[entry.name] = look
                if self._seen.get(entry.name) == look and not _being_written(Path(entry.path)):
                    found.append((look.modified_ns, entry.name))
        self._seen = looks
        with self._lock:
            self._given &= looks.keys() | {path.name for path, _ in self._open.values()}
            new = sorted(item for item in found if item[1] not in self._given)
        return [self._folder / name for _, name in new]

    def _is_ours(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_file():
            return False
        if file_kind(entry.name) is not None:
            return True
        if not entry.name.startswith("."):
            self._tally.tell("foreign file", f"{entry.path} is left alone: no image, WAV, npy or JSON")
        return False

    def _read(self, path: Path) -> Sample | None:
        kind = file_kind(path.name)
        assert kind is not None, "only such files are listed"
        look = _look(path)
        if look is None:  # taken away before we came to it
            return None
        with self._lock:
            self._given.add(path.name)
        try:
            sample = self._decoder.from_file(path, kind)
        except ModelError:  # none is loaded just now: later
            with self._lock:
                self._given.discard(path.name)
            return None
        except BundleError as error:  # the bundle's fault: the file stays for another one
            self._tally.fail(f"{path.name}: {error}")
            return None
        except (DataError, InputError, OSError) as error:
            told = str(error)
            self._tally.refuse("file", told if path.name in told else f"{path.name}: {told}")
            self._move(path, look, _REFUSED)
            return None
        sample = replace(sample, token=next(self._tokens))
        with self._lock:
            self._open[sample.token] = path, look
        return sample

    def _leave(self, token: int, where: str) -> None:
        with self._lock:
            file = self._open.pop(token, None)
        if file is not None:
            self._move(*file, where)

    def _move(self, path: Path, look: _Look, where: str) -> None:
        """Move a file; one that cannot be moved is said, and not answered again by this process."""
        if _look(path) != look:  # another one came in its place meanwhile: it is to be answered
            with self._lock:
                self._given.discard(path.name)
            return
        target = self._folder / where / path.name
        number = 1
        while target.exists():
            number += 1
            target = self._folder / where / f"{path.stem}~{number}{path.suffix}"
        try:
            path.rename(target)
        except FileNotFoundError:
            return
        except OSError as error:
            self._tally.tell("move", f"{path} cannot be moved into {where}/: {error.strerror}")


def _look(path: Path) -> _Look | None:
    """Return what the file is like now, or None when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _Look(status.st_size, status.st_mtime_ns, status.st_ino)


def _being_written(path: Path) -> bool:
    """Return whether a process has the file open for writing, as far as the kernel tells.

    A read lease is refused then (fcntl(2), F_SETLEASE). Where leases are not to be had (a network file
    system, another owner's file) the answer is no, and the two equal looks must do. The signal for a
    broken lease is turned into one that nobody minds: SIGIO would end the process.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
