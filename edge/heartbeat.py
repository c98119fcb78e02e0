"""Whether the agent may say that it is alive. Pure but for the clock that it is given.

Two threads keep a device useful: the inference loop, and the control thread, without which nobody could
mend it from afar. The loop sends the sign to systemd's watchdog and so vouches for itself; it asks here
whether the other one still turns.

A turn of the control thread may hold a model's load, a slow disk's fsync and, when a model is closed, the
end of the call inside it; so it may be silent for long, but not for ever.
"""

from __future__ import annotations

from typing import Final

from wire.deadline import Clock

#: Five times what a turn may take at worst: a load within the time of a trial.
SILENT_S: Final = 600.0


class Heartbeat:
    """`turned` belongs to the control thread, `alive` to the inference loop; a float crosses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turned_s = clock()

    def turned(self) -> None:
        self._turned_s = self._clock()

    @property
    def alive(self) -> bool:
        """Whether the control thread turned lately."""
        return self._clock() - self._turned_s < SILENT_S
