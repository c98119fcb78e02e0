"""An agent's control thread on a broker in memory, stepped by a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.adapters.model_folders import model_folders
from edge.adapters.model_store import ModelStore
from edge.adapters.outbox import Outbox
from edge.control import Control, Identity, OwnModel, Parts
from edge.download import Download
from edge.ports import Ports
from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.results import ResultQueue
from edge.selfcheck import SelfCheck
from edge.trust import Trust, Unsigned
from edge.turns import Turns
from edge.updater import Updater
from tests.support.fakes import ScriptedServing, ScriptedTrial, TurnedClock
from tests.support.watching import make_reporting
from wire.codec import decode, encode
from wire.link import Will
from wire.memory_link import MemoryBroker
from wire.messages import Event, EventReport, Online, Reported, TelemetryReport
from wire.topics import LEAVES, Leaf, Topics

TOPICS = Topics()
OWN: dict[Leaf, str] = {leaf: TOPICS.device("pi-1", leaf) for leaf in LEAVES}


class Agent:
    """An agent's control thread, stepped by the test.

    `updater`, `serving` and `results` are those of the first model.
    """

    def __init__(
        self,
        state: Path,
        trust: Trust | None = None,
        broker: MemoryBroker | None = None,
        boot: str = "b1",
        models: Sequence[str] = ("digits",),
    ) -> None:
        self.broker, self.clock = broker or MemoryBroker(), TurnedClock()
        self.link = self.broker.link(Will(OWN["online"], encode(Online(boot, False))))
        self.outbox = Outbox(state / "outbox.db", boot, clock=self.clock)
        self.recorder, self.turns = Recorder(), Turns()
        self.remembered, self.waiting = Remembered(), 0
        self.servings = {model: ScriptedServing() for model in models}
        self.outbox.open()
        folders = model_folders(state, models)
        self.models = {model: self._own(model, folder) for model, folder in folders.items()}
        first = next(iter(self.models.values()))
        self.updater, self.results, self.serving = first.updater, first.results, self.servings[first.name]
        reporting, observing = make_reporting(
            self.recorder, self.clock, 10.0, rate=1.0, remembered=self.remembered,
            waiting=lambda: self.waiting,
        )  # fmt: skip
        parts = Parts(
            self.link, TOPICS, trust or Unsigned(), tuple(self.models.values()), self.outbox, reporting,
            observing, (), lambda: 0, lambda: 0, lambda: 10**9, self.clock, lambda: 1.7e9,
        )  # fmt: skip
        self.control = Control(Identity("pi-1", boot, "test"), parts)
        self.voice = self.broker.link()
        self.voice.start()
        self.control._subscribe()
        self.link.start()

    def _own(self, model: str, folder: Path) -> OwnModel:
        store, serving = ModelStore(folder), self.servings[model]
        store.open()
        ports = Ports(
            store,
            ScriptedTrial(),
            serving,
            lambda blob, part, rate: Download(blob, part, self.link, TOPICS, rate_bytes_s=rate),
            lambda event: self.outbox.add("event", event),
            self.clock,
            turns=self.turns,
        )
        return OwnModel(model, Updater("pi-1", model, ports), ResultQueue(100), list, SelfCheck(serving))

    def step(self, n: int = 3) -> None:
        for _ in range(n):
            self.control._step(0)
            self.clock.turn(0.1)

    def tell(self, topic: str, payload: bytes) -> None:
        self.voice.publish(topic, payload, retain=True)
        self.step()

    def telemetry(self) -> list[TelemetryReport]:
        return [decode(TelemetryReport, p) for t, p in self.broker.published if t == OWN["telemetry"]]

    def events(self) -> list[Event]:
        """Return each event once: nobody acknowledges here, so they are sent again and again."""
        said = [decode(EventReport, p) for t, p in self.broker.published if t == OWN["event"]]
        return list({(report.head.boot, report.head.sequence): report.body for report in said}.values())

    def refusals(self) -> list[str]:
        """Return what was refused: the details of its events."""
        return [str(event.detail) for event in self.events() if event.cause == "refused" and event.detail]

    def reported(self) -> Reported:
        return decode(Reported, self.broker.retained[OWN["reported"]])
