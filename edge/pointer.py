"""Which model serves, as it stands on the disk; and how that changes, as pure functions.

The pointer is the only state that a restart believes, and each file that it names is hashed again
before it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from launcher.choosing import Named, Slot

__all__ = ["Pointer", "Slot"]

#: A model on probation that did not survive this many starts of the agent is rolled back.
MAX_PROBATION_STARTS: Final = 2

#: A bundle that was tried this often without an answer (the agent died each time) is not tried again.
MAX_ATTEMPTS: Final = 3

_REMEMBERED_BLOCKED: Final = 32


@dataclass(frozen=True)
class Pointer(Named):
    """What serves, what served before, and what failed here: bundles, and deltas that made no bundle.

    What the launcher reads of it is Named.
    """

    blocked: tuple[str, ...] = ()
    probation_starts: int = 0
    attempted: str | None = None
    attempts: int = 0
    lifted: int = 0  # the sequence of the last plan that asked for another try of a blocked bundle
    failed_blobs: tuple[str, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """Digests of the bundles that must stay on the disk."""
        return frozenset(slot.sha256 for slot in (self.current, self.previous) if slot)


def attempted(pointer: Pointer, sha256: str) -> Pointer:
    """Count an attempt, before it is made."""
    attempts = pointer.attempts + 1 if pointer.attempted == sha256 else 1
    return replace(pointer, attempted=sha256, attempts=attempts)


def not_attempted(pointer: Pointer) -> Pointer:
    """Take an attempt back: it ended for a reason that is not the bundle's."""
    return replace(pointer, attempts=max(0, pointer.attempts - 1))


def ended_well(pointer: Pointer) -> Pointer:
    """Take a start back: the agent was told to end, the model on probation did not end it."""
    return replace(pointer, probation_starts=max(0, pointer.probation_starts - 1))


def blocked(pointer: Pointer, sha256: str) -> Pointer:
    """Never try `sha256` here again."""
    others = tuple(s for s in pointer.blocked if s != sha256)
    return replace(pointer, blocked=(*others, sha256)[-_REMEMBERED_BLOCKED:], attempted=None, attempts=0)


def lifted(pointer: Pointer, sha256: str, sequence: int) -> Pointer:
    """Hold nothing against `sha256` any more, as the plan `sequence` asks: once."""
    others = tuple(s for s in pointer.blocked if s != sha256)
    return replace(pointer, blocked=others, attempted=None, attempts=0, lifted=sequence)


def installed(pointer: Pointer, new: Slot) -> Pointer:
    """Let `new` serve, on probation, and keep what served as the way back."""
    return replace(
        pointer,
        current=new,
        previous=pointer.current or pointer.previous,
        on_probation=True,
        probation_starts=0,
        attempted=None,
        attempts=0,
    )


def committed(pointer: Pointer) -> Pointer:
    """End the probation well."""
    return replace(pointer, on_probation=False, probation_starts=0)


def without_delta(pointer: Pointer, sha256: str) -> Pointer:
    """Never fetch the delta `sha256` here again."""
    return replace(pointer, failed_blobs=(*pointer.failed_blobs, sha256)[-_REMEMBERED_BLOCKED:])


def rolled_back(pointer: Pointer) -> Pointer:
    """Return to the previous model and block the current one."""
    if pointer.current is None:
        return pointer
    bad = blocked(pointer, pointer.current.sha256)
    return replace(bad, current=pointer.previous, previous=None, on_probation=False, probation_starts=0)


def lost(pointer: Pointer) -> Pointer:
    """Return to the previous model because the current one's file is gone; it may be fetched again."""
    return replace(pointer, current=pointer.previous, previous=None, on_probation=False, probation_starts=0)


def started(pointer: Pointer) -> Pointer:
    """Take note of a start of the agent: a model that keeps ending it on probation loses its place."""
    if not pointer.on_probation:
        return pointer
    if pointer.probation_starts >= MAX_PROBATION_STARTS:
        return rolled_back(pointer)
    return replace(pointer, probation_starts=pointer.probation_starts + 1)
