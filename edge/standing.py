"""What the pointer of one model names, and that it serves.

Rules:
- a model is loaded first, then the pointer is written, then callers get it: a crash between two of these
  leaves a model that serves;
- what stands and cannot serve gives way to the one before it, and that to none: a device is never left with
  a pointer to what does not work;
- a full disk keeps nobody from serving: what could not be written stands in memory, and a start finds the
  same again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge import pointer as pointers
from edge.pointer import Pointer, Slot
from edge.ports import Serving, Store
from wire.errors import BundleError, ModelError

log = logging.getLogger(__name__)


class Standing:
    """The pointer, with the two ports that it is about. `failed` hears what was given up, and why."""

    def __init__(self, store: Store, serving: Serving, failed: Callable[[Exception], None]) -> None:
        self._store = store
        self._serving = serving
        self._failed = failed
        self.pointer = Pointer()

    def recover(self) -> None:
        """Read the pointer, serve what it names, and remove bundles that nothing names.

        One that waits for its trial is kept. Raises OSError.
        """
        self.pointer = self._store.read_pointer()
        self._keep(pointers.started(self.pointer))
        self.serve()
        self._store.collect(self.pointer.kept | (self._store.on_disk() - set(self.pointer.blocked)))

    def save(self, pointer: Pointer) -> None:
        """Let this pointer stand, on the disk too; raises OSError, and the one before stands."""
        if pointer != self.pointer:
            self._store.write_pointer(pointer)
        self.pointer = pointer

    def assume(self, pointer: Pointer) -> None:
        """Let this pointer stand in memory, where the disk does not take it."""
        self.pointer = pointer

    def install(self, new: Slot, needs_bytes: int) -> None:
        """Serve another bundle from the next call on; raises BundleError, ModelError or OSError, and all is
        as before. `needs_bytes` is the memory that its trial measured."""
        self._prepare(new.sha256, needs_bytes)
        self.save(pointers.installed(self.pointer, new))
        self._serving.swap()

    def serve(self) -> None:
        """Serve the pointer's model; fall back to the one before it, and to none, where it cannot serve."""
        while (slot := self.pointer.current) is not None:
            try:
                self._prepare(slot.sha256, 0)  # what stands, whatever it takes
                self._serving.swap()
                return
            except BundleError as error:
                self._give_up(slot, error, pointers.lost(self.pointer))
            except ModelError as error:
                bad = pointers.rolled_back if self.pointer.on_probation else pointers.lost
                self._give_up(slot, error, bad(self.pointer))
        self._serving.stop()

    def put_back(self) -> None:
        """Let go of a candidate that did not come to serve; serve what stands if that was unloaded for it."""
        self._serving.drop_candidate()
        if self._serving.release is None and self.pointer.current is not None:
            try:
                self.serve()
            except OSError as error:
                log.error("the disk failed: %s", error)

    def collect(self) -> None:
        """Remove bundles that nothing names any more."""
        self._store.collect(self.pointer.kept)

    def _prepare(self, sha256: str, needs_bytes: int) -> None:
        if not self._store.holds(sha256):
            raise BundleError(f"bundle {sha256[:12]} is not on the disk, or damaged")
        self._serving.prepare(self._store.path(sha256), needs_bytes)

    def _give_up(self, slot: Slot, error: Exception, pointer: Pointer) -> None:
        log.error("%s cannot serve: %s", slot.release, error)
        self._failed(error)
        self._keep(pointer)

    def _keep(self, pointer: Pointer) -> None:
        """Save, and on a full disk go on with it in memory."""
        try:
            self.save(pointer)
        except OSError as error:
            log.error("the disk failed: %s", error)
            self._failed(error)
            self.assume(pointer)
