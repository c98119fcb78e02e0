"""Releases of the agent's own software on the disk: the store of a model, and an environment for each.

    <state>/software/pointer.json, models/, parts/    as of a model (edge/adapters/model_store.py)
    <state>/software/before.json                      what answered before the last switch
    <state>/software/env/, starts.json                launcher/disk.py

Rules:
- what runs is here, whatever its release's file says: it is not given up for a file that nothing reads;
- a file here that the disk does not give back is as one that is not there, as for the launcher: no software,
  the factory's included, may fail to start for it;
- a pointer to other software begins with no starts counted, and they are forgotten before it is written:
  a crash between the two gives starts, and takes none.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from edge.adapters.environments import ROOM, Environments
from edge.adapters.model_store import RESERVE_BYTES, ModelStore, PartFile
from edge.download import NoSpaceError
from edge.pointer import Pointer
from edge.selfupdate.health import Situation
from launcher.choosing import Starts, counted
from launcher.disk import Disk
from wire.adapters.files import write_atomic
from wire.codec import decode, encode
from wire.errors import MessageError
from wire.messages import Blob, Release

log = logging.getLogger(__name__)


class SoftwareStore(ModelStore):
    """Of one device; `running` is the digest of what runs, None for the factory's software."""

    def __init__(self, state: Path, running: str | None) -> None:
        self._disk = Disk(state)
        super().__init__(self._disk.folder)
        self.environments = Environments(self._disk.folder / "env")
        self._running = running
        self._assumed: Pointer | None = None

    def open(self) -> None:
        super().open()
        self.environments.open()

    def read_pointer(self) -> Pointer:
        """Return the pointer without its own count of starts: the launcher has counted this one."""
        try:
            pointer = self._assumed or super().read_pointer()
        except OSError as error:
            log.error("pointer.json is unreadable, as if none of the software was pushed: %s", error)
            return Pointer()
        return replace(pointer, probation_starts=0)

    def write_pointer(self, pointer: Pointer) -> None:
        before = self.read_pointer().current
        if pointer.current and (before is None or before.sha256 != pointer.current.sha256):
            self._disk.forget_starts()
        super().write_pointer(pointer)
        self._assumed = None

    def align(self, pointer: Pointer) -> None:
        """Let the pointer name what runs; on a full disk in memory: the launcher chooses the same again."""
        try:
            super().write_pointer(pointer)  # the counts stay: they say why
        except OSError as error:
            log.error("the disk failed: %s", error)
            self._assumed = pointer

    def holds(self, sha256: str) -> bool:
        return sha256 == self._running or super().holds(sha256)

    def reserve(self, blob: Blob, release: Release) -> PartFile:
        """Make room for the blob, the release in it, and its environment."""
        self.check_room(release.bundle_bytes)
        return super().reserve(blob, release)

    def check_room(self, release_bytes: int) -> None:
        """Raise NoSpaceError where an environment has no room."""
        need, have = ROOM * release_bytes + RESERVE_BYTES, self.free_bytes()
        if need > have:
            raise NoSpaceError(f"needs {need} bytes free, has {have}")

    def collect(self, keep: frozenset[str]) -> None:
        super().collect(keep)
        running = {self._running} if self._running else set()
        self.environments.collect(keep | running)

    # --- what the launcher and the next software are told ---------------------------------------

    def starts(self) -> Starts:
        """Return how often the launcher has started what since something was healthy here."""
        return self._disk.starts()

    def forget_starts(self) -> None:
        """What runs is healthy: count anew, unless the pointer on the disk names what was given up."""
        if self._assumed is None:
            self._disk.forget_starts()

    def take_start_back(self) -> None:
        """This start ends because it was told to, which is held against nothing."""
        if self._running is not None:
            self._disk.keep(counted(self._disk.starts(), self._running, -1))

    def note_situation(self, situation: Situation) -> None:
        write_atomic(self._folder / "before.json", encode(situation))

    def situation_before(self) -> Situation:
        """Return what was noted; nothing where that cannot be read, which asks less of what runs now."""
        try:
            return decode(Situation, (self._folder / "before.json").read_bytes())
        except FileNotFoundError:
            return Situation()
        except (OSError, MessageError) as error:
            log.error("before.json is unreadable: %s", error)
            return Situation()
