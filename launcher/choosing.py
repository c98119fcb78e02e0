"""Which software to start. Pure.

Rules:
- the pointer (edge/pointer.py) names the software that should run and the one before; behind both stands
  the factory's, which came with the device and is never touched;
- each start is counted before it is made. Software on probation that did not end its probation in
  PROBATION_STARTS of them, and trusted software that was not healthy in TRUSTED_STARTS, is given up: the
  one before it starts, and at last the factory's, which is started however often it fails;
- software with a file that is not what was installed is passed over as well; whether that is held against
  it is not for this file to say: the agent that starts instead sees by the count which of both it was;
- who is healthy forgets the counts (edge/selfupdate/); who ends because it was told to takes its start back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

PROBATION_STARTS: Final = 3

#: Two minutes of crashes under systemd: trusted software has run here before, so it may be something else.
TRUSTED_STARTS: Final = 10


@dataclass(frozen=True)
class Slot:
    """Something installed, by the digest of its release: software here, a model elsewhere."""

    release: str
    sha256: str


@dataclass(frozen=True)
class Named:
    """What is read of the pointer; the fields that edge/pointer.py adds are the agent's."""

    current: Slot | None = None
    previous: Slot | None = None
    on_probation: bool = False


@dataclass(frozen=True)
class Starts:
    """Starts by digest since something was healthy here."""

    counts: dict[str, int] = field(default_factory=dict)

    def of(self, sha256: str) -> int:
        return self.counts.get(sha256, 0)


@dataclass(frozen=True)
class Choice:
    """What to start (None: the factory's), the counts with this start, and whether it is on probation."""

    slot: Slot | None
    starts: Starts
    on_probation: bool = False


def choose(named: Named, starts: Starts, intact: Callable[[str], bool]) -> Choice:
    """Decide what to start; `intact` looks whether all files of a digest are there and right."""
    ways = [(named.current, named.on_probation), (named.previous, False)]
    for slot, on_probation in ways:
        if slot is None or given_up(starts, slot.sha256, on_probation=on_probation):
            continue
        if intact(slot.sha256):
            return Choice(slot, counted(starts, slot.sha256), on_probation)
    return Choice(None, starts)


def given_up(starts: Starts, sha256: str, *, on_probation: bool) -> bool:
    """Return whether it had its starts."""
    return starts.of(sha256) >= (PROBATION_STARTS if on_probation else TRUSTED_STARTS)


def counted(starts: Starts, sha256: str, by: int = 1) -> Starts:
    """Return the counts with another start of `sha256`, or with one taken back."""
    return Starts({**starts.counts, sha256: max(0, starts.of(sha256) + by)})
