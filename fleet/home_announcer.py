"""Decides of which devices Home Assistant is told, and what is taken back. No input or output.

Rules:
- at most `MAX_DEVICES`, those first that were told of before: a new device takes nobody's place;
- what was told of and is gone is taken back by empty messages, for as long as this server runs; one that was
  removed while no server ran is taken back as all its other messages are (fleet/publishing.py, `farewells`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from fleet.findings import FleetFacts
from fleet.home_assistant import MAX_DEVICES, DeviceNow, config, devices_now, places, state
from fleet.home_topics import Home, topics_of
from fleet.publishing import Publication, message

log = logging.getLogger(__name__)


class HomeAnnouncer:
    """Of the thread that looks at the fleet."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._told: dict[str, frozenset[str]] = {}
        self._taken_back: set[str] = set()
        self._left_out = 0

    def publications(self, facts: FleetFacts, now_s: float) -> list[Publication]:
        """Return all that should stand, at Unix time `now_s`."""
        chosen = self._choose(devices_now(facts))
        self._taken_back |= self._told.keys()
        self._taken_back -= {now.device for now in chosen}
        self._told = {device: seen for device, seen in self._told.items() if device not in self._taken_back}
        return [*self._withdrawn(), *(p for now in chosen for p in self._of(now, now_s))]

    def _choose(self, found: list[DeviceNow]) -> list[DeviceNow]:
        ordered = sorted(found, key=lambda now: (now.device not in self._told, now.device))
        left_out = len(ordered[MAX_DEVICES:])
        if left_out > self._left_out:
            log.error(
                "Home Assistant is told of %d devices, %d are left out: such a fleet needs a page of its own",
                MAX_DEVICES,
                left_out,
            )
        self._left_out = left_out
        return ordered[:MAX_DEVICES]

    def _of(self, now: DeviceNow, now_s: float) -> Iterator[Publication]:
        standing = places(self._home, now)
        seen = self._told[now.device] = self._told.get(now.device, frozenset()) | standing
        yield message(self._home.config_topic(now.device), config(self._home, now, sorted(seen - standing)))
        yield message(self._home.state_topic(now.device), state(now, now_s))

    def _withdrawn(self) -> Iterator[Publication]:
        for device in sorted(self._taken_back):
            for topic in topics_of(self._home, device):
                yield message(topic, b"")
