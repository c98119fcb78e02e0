"""What a swap may cost in memory: two small rules. Pure.

- availability: the next model is loaded beside the one that serves, so both need room for a moment;
- memory: the one that serves is closed first, and callers wait while the next one is loaded. For boards
  of 512 MB; if the next one cannot be loaded, the one before is loaded again.

With neither is a model loaded that has no room: it waits for better times.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from wire.errors import EdgeflockError

#: What must stay free beside the models, for the rest of the board.
MARGIN_BYTES: Final = 64 * 1024**2
#: What a model's own process takes before any model: another Python with numpy and an interpreter.
PROCESS_BYTES: Final = 32 * 1024**2


class NoRoomError(EdgeflockError):
    """There is not enough memory now; nothing is wrong with the model."""


class SwapPolicy(StrEnum):
    AUTO = "auto"
    AVAILABILITY = "availability"
    MEMORY = "memory"


def unload_first(policy: SwapPolicy, *, needs_bytes: int, available_bytes: int | None) -> bool:
    """Return whether the serving model must go before the next is loaded.

    `needs_bytes` is the peak of the next one's trial. With `auto` it goes only when that, and a margin,
    are not available; a board that does not say what is available (None) loads beside.
    """
    if policy is not SwapPolicy.AUTO:
        return policy is SwapPolicy.MEMORY
    return available_bytes is not None and available_bytes < needs_bytes + MARGIN_BYTES


def lacks_room(policy: SwapPolicy, *, needs_bytes: int, available_bytes: int | None) -> bool:
    """Return whether the next model must not be loaded at all now: both would not fit, or not even it alone.

    Asked before it is loaded, and behind the unloading of the one that serves where that goes first.
    To be killed for want of memory would cost more than an update that waits.
    """
    if available_bytes is None or not needs_bytes:
        return False
    margin = MARGIN_BYTES if policy is SwapPolicy.AVAILABILITY else 0
    return available_bytes < needs_bytes + margin


def keep_previous(policy: SwapPolicy, *, available_bytes: int | None) -> bool:
    """Return whether the previous model may stay loaded until the new one is trusted.

    A rollback is then one assignment. Asked after the swap, so it is there already: what counts is
    that the margin is left.
    """
    if policy is SwapPolicy.MEMORY:
        return False
    return available_bytes is None or available_bytes >= 2 * MARGIN_BYTES
