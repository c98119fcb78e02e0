"""What a swap may cost in memory: two small rules. Pure.

- availability: the next model is loaded beside the one that serves, so both need room for a moment;
- memory: the one that serves is closed first, and callers wait while the next one is loaded. For boards
  of 512 MB; if the next one cannot be loaded, the one before is loaded again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

#: What must stay free beside the models, for the rest of the board.
MARGIN_BYTES: Final = 64 * 1024**2


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


def keep_previous(policy: SwapPolicy, *, available_bytes: int | None) -> bool:
    """Return whether the previous model may stay loaded until the new one is trusted.

    A rollback is then one assignment. Asked after the swap, so it is there already: what counts is
    that the margin is left.
    """
    if policy is SwapPolicy.MEMORY:
        return False
    return available_bytes is None or available_bytes >= 2 * MARGIN_BYTES
