"""What is to be simulated, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.arrivals import Arrived
from fleet.simulation.scenario import Scenario
from wire.adapters.paho_link import BrokerAddress


@dataclass(frozen=True)
class Count:
    """What happened so far. `said`, `acknowledged` and `held` are numbered messages of honest devices."""

    said: int = 0
    acknowledged: int = 0
    held: int = 0
    lies: int = 0
    reconnects: int = 0


@dataclass(frozen=True)
class Course:
    """What is to be simulated: how many devices, for how long, how fast, over which broker.

    `drain_s` is how long the server may take for the last acknowledgement. Where `state` is the folder of the
    fleet, its store is looked into at the end.
    """

    scenario: Scenario
    broker: BrokerAddress
    devices: int
    seconds: float
    speed: float = 1.0
    connections: int = 4
    prefix: str = "edgeflock"
    drain_s: float = 60.0
    state: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended; `arrived` is None where nobody looked into the store."""

    count: Count
    liars: int
    seconds: float
    arrived: Arrived | None

    @property
    def good(self) -> bool:
        """Whether all messages of honest devices were acknowledged, and are in the store once."""
        whole = self.arrived is None or (self.arrived.lost == 0 and self.arrived.doubled == 0)
        return self.count.held == 0 and whole
