"""The agent's own software beside its models: its store, its updater, its health. Wiring.

It goes through the same states as a model (edge/updater.py), with its own store, trial and probation; a
swap ends this process, and the launcher goes on as what the pointer names then.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge import pointer as pointers
from edge.adapters.reach import Reach
from edge.adapters.software_store import SoftwareStore
from edge.adapters.software_trial import SoftwareTrial
from edge.adapters.vitals import userland
from edge.agent_model import Shared
from edge.fitness import Board
from edge.lifecycle import State
from edge.ports import Ports
from edge.probation import Outcome
from edge.selfupdate.health import PATIENCE_S, Seen, Situation, judge
from edge.selfupdate.serving import SoftwareServing
from edge.serving import Serving
from edge.updater import Updater
from launcher.choosing import PROBATION_STARTS, TRUSTED_STARTS, given_up
from launcher.launch import disarm, running
from wire.adapters.paho_link import BrokerAddress
from wire.messages import Ack
from wire.software import SOFTWARE

log = logging.getLogger(__name__)

#: States in which the updater asks whether what runs is healthy.
_WATCHED: Final = (State.PROBATION, State.COMMIT, State.ROLLBACK)


class OwnSoftware:
    """The software of one agent. `open` it, then `recover` it; the control thread has the rest.

    `end` is called when the agent is to end so that other software starts; from then on `wants_restart`.
    """

    name = SOFTWARE

    def __init__(self, state: Path, settings: Path, broker: BrokerAddress, end: Callable[[], None]) -> None:
        self._running = running()
        self._store = SoftwareStore(state, self._running)
        self._settings = settings
        self._reach = Reach(broker)
        self._end = end
        self._models: Mapping[str, Serving] = {}
        self._before = Situation()
        self._linked = False
        self._acknowledged = False
        self._healthy = False

    def open(self) -> None:
        """Make the folders; on a full disk nothing can be pushed, and the models serve."""
        try:
            self._store.open()
        except OSError as error:
            log.error("no software can be pushed: %s", error)

    def recover(self, shared: Shared, models: Mapping[str, Serving]) -> None:
        """Take note of what the launcher started, and begin to watch it."""
        self._models = models
        self._serving = SoftwareServing(
            self._running,
            broken=self._store.environments.broken,
            note=lambda: self._store.note_situation(self._situation()),
            trusted=self._store.forget_starts,
            restart=self._end,
        )
        self._clock = shared.clock
        self._began_s = shared.clock()
        fallen, damaged = self._align()
        if self._store.read_pointer().on_probation:
            self._before = self._store.situation_before()
        ports = Ports(
            store=self._store,
            trial=SoftwareTrial(self._store, self._settings),
            serving=self._serving,
            make_download=shared.make_download,
            journal=shared.journal,
            clock=shared.clock,
            board=Board(userland(), python=platform.python_version()),
            turns=shared.turns,
            watch=lambda _release: self,
        )
        self.updater = Updater(shared.device, SOFTWARE, ports)
        self.updater.recover(damaged)
        if fallen:
            self.updater.fell_back(fallen)

    @property
    def wants_restart(self) -> bool:
        return self._serving.restarting

    def linked(self, *, up: bool) -> None:
        """Take note of the link."""
        self._linked = up

    def acknowledged(self, ack: Ack, boot: str) -> None:
        """Take note of what the server has: something of this start, or not."""
        marks = [mark for marks in ack.streams.values() for mark in marks]
        self._acknowledged |= any(mark.boot == boot and mark.sequence > 0 for mark in marks)

    def tick(self) -> None:
        """Do what is due; trusted software that is healthy again has its starts forgotten."""
        self.updater.tick()
        if self._healthy or self.updater.state in _WATCHED:
            return
        outcome = self.step()
        if outcome is not None and outcome.healthy:
            self._healthy = True
            try:
                self._store.forget_starts()
            except OSError as error:  # then this start goes on counting, one of many
                log.error("the disk failed: %s", error)

    def step(self) -> Outcome | None:
        """Judge what runs; the updater asks while it is on probation."""
        if self._serving.restarting:
            return None
        age_s = self._clock() - self._began_s
        waits = age_s >= PATIENCE_S and not self._linked
        seen = Seen(self._situation(), self._acknowledged, self._reach.answers() if waits else None)
        outcome = judge(age_s, self._before, seen)
        if outcome is not None and outcome.healthy:
            disarm()
        return outcome

    def close(self, *, told: bool) -> None:
        """`told`: the agent was told to end, which says nothing against its software."""
        try:
            if told and self._running and self._store.starts().of(self._running):
                self._store.take_start_back()
        except OSError as error:
            log.error("the disk failed: %s", error)

    def _situation(self) -> Situation:
        answering = [name for name, serving in self._models.items() if serving.release is not None]
        return Situation(tuple(answering), self._linked)

    def _align(self) -> tuple[str | None, str | None]:
        """Let the pointer name what runs; return what fell back on the way, and what was only damaged."""
        pointer = before = self._store.read_pointer()
        fallen = damaged = None
        while (slot := pointer.current) is not None and slot.sha256 != self._running:
            if given_up(self._store.starts(), slot.sha256, on_probation=pointer.on_probation):
                starts = PROBATION_STARTS if pointer.on_probation else TRUSTED_STARTS
                fallen = f"{slot.release} was not healthy in {starts} starts"
                pointer = pointers.rolled_back(pointer)
            else:
                file = self._store.environments.broken(slot.sha256)
                why = file or "its start could not be counted, or failed"
                damaged = f"{slot.release} was not started: {why}"
                pointer = pointers.lost(pointer)
        for problem in filter(None, (fallen, damaged)):
            log.error("%s", problem)
        if pointer != before:
            self._store.align(pointer)
        return fallen, damaged
