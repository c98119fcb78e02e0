"""Which devices refuse a release because its bundle failed on them, as far as they told. Pure.

A device remembers this by the bundle's digest, and keeps the list to itself; what the server knows are the
transitions of its audit log. The last one that decides about the release counts: it was blocked, or it was
committed after all. What a board cannot run at all (`unfit`) is no block: no other try would help.
"""

from __future__ import annotations

from collections.abc import Iterable

from wire.messages import Event


def blocking(release: str, events: Iterable[tuple[str, Event]]) -> frozenset[str]:
    """Return the devices that have blocked `release`; `events` are of all devices, oldest first."""
    found: set[str] = set()
    for device, event in events:
        if event.release != release:
            continue
        if event.after == "blocked" and event.cause != "unfit":
            found.add(device)
        elif event.after == "commit":
            found.discard(device)
    return frozenset(found)
