"""The control thread: everything an agent does besides inference.

It takes messages from the link, drives the updater of each model, cuts reports, and sends the outbox.
Nothing in here is waited for by the inference thread, and nothing in here waits for the network.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from edge.golden_watch import GoldenWatch
from edge.observing import Observing
from edge.orders import Addressee, Orders, Ways
from edge.ports import Outbox
from edge.renewal import Renewal
from edge.reporting import Reporting
from edge.results import Result, ResultQueue, Sink
from edge.rollout import wishes_about
from edge.selfcheck import SelfCheck
from edge.trust import RefusedError, Trust
from edge.updater import Updater
from wire.codec import decode, encode
from wire.deadline import Clock, Deadline, wait_until
from wire.errors import MessageError
from wire.link import Incoming, Link, LinkDown, LinkEvent, LinkUp, PublishRefused, SubscribeRefused
from wire.messages import (
    Ack,
    Command,
    Event,
    Loss,
    ModelState,
    Online,
    Reported,
    Samples,
    Telemetry,
    Truths,
)
from wire.topics import BlobTopic, DeviceTopic, Leaf, MetaTopic, PlanTopic, Topics

log = logging.getLogger(__name__)

_IDLE_WAIT_S: Final = 0.1
_REPORT_PROGRESS_EVERY_S: Final = 0.2
_FLUSH_S: Final = 10.0
#: Before other software starts, which sends what is left: until then nobody gets an answer.
_SHORT_FLUSH_S: Final = 1.0
_BATCH: Final = 64
_DETAIL: Final = 500


@dataclass(frozen=True)
class Identity:
    """Who speaks: the device, this start of its agent, its software, its board and its userland."""

    device: str
    boot: str
    software: str
    board: str | None = None
    machine: str | None = None


@dataclass(frozen=True)
class OwnModel:
    """One model of the device: its state machine, its answers, and the check of them.

    `results` are those of a source, for the sinks; `observed` those that went to who asked (HTTP); `missed`
    counts the answers since boot that were in neither long enough. `golden` asks the golden set at times.
    """

    name: str
    updater: Updater
    results: ResultQueue
    observed: Callable[[], list[Result]]
    check: SelfCheck
    missed: Callable[[], int] = lambda: 0
    golden: GoldenWatch | None = None


class Software(Protocol):
    """The agent's own software, which is updated as a model is (edge/selfupdate/app.py)."""

    @property
    def name(self) -> str: ...

    @property
    def updater(self) -> Updater: ...

    @property
    def wants_restart(self) -> bool:
        """Whether the agent ends only to begin anew."""

    def tick(self) -> None: ...

    def linked(self, *, up: bool) -> None:
        """Take note of the link."""

    def acknowledged(self, ack: Ack, boot: str) -> None:
        """Take note of what the server has committed."""


@dataclass(frozen=True)
class Parts:
    """What the control thread works with; each is made in edge/app.py. There is one model at least."""

    link: Link
    topics: Topics
    trust: Trust
    models: tuple[OwnModel, ...]
    outbox: Outbox
    reporting: Reporting
    observing: Observing
    sinks: tuple[Sink, ...]
    results_lost: Callable[[], int]
    inputs_refused: Callable[[], int]
    free_bytes: Callable[[], int]
    clock: Clock
    wall_clock: Callable[[], float]
    renewal: Renewal | None = None
    #: Hears at each turn what the models do, and whether there is a link.
    turned: Callable[[Sequence[ModelState], bool], None] = lambda _models, _up: None
    software: Software | None = None


class Control:
    """One loop; `run` is the body of the thread."""

    def __init__(self, identity: Identity, parts: Parts) -> None:
        self._identity = identity
        self._parts = parts
        self._updaters = {model.name: model.updater for model in parts.models}
        if parts.software is not None:
            self._updaters[parts.software.name] = parts.software.updater
        self._orders = Orders(
            Addressee(identity.device, tuple(self._updaters), identity.boot),
            parts.trust,
            Ways(parts.link, parts.topics, self._refuse, self._count, parts.clock),
        )
        self._bad: Counter[str] = Counter()
        self._birth_due = False
        self._told: Reported | None = None
        self._tell_due_s = 0.0
        self._sequence = 0
        self._up = False
        self._last_down = ""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`, then say goodbye: the last report is sent and its acknowledgement awaited."""
        parts = self._parts
        self._subscribe()
        parts.link.start()
        try:
            while not stop.is_set():
                self._step(_IDLE_WAIT_S)
            self._say_goodbye()
        finally:
            for updater in self._updaters.values():
                updater.close()
            parts.link.close()

    def _step(self, wait_s: float) -> None:
        for n in range(_BATCH):
            event = self._parts.link.receive(0 if n else wait_s)
            if event is None:
                break
            self._handle(event)
        self._follow_orders()
        for model in self._parts.models:
            model.updater.tick()
        if self._parts.software:
            self._parts.software.tick()
        if self._parts.renewal:
            self._parts.renewal.tick(self._parts.link)
        self._drain_results()
        self._test_models()
        self._parts.reporting.turn()
        if self._parts.reporting.due:
            self._report()
        self._send()

    # --- from the link ------------------------------------------------------------------------

    def _subscribe(self) -> None:
        topics, device = self._parts.topics, self._identity.device
        leaves: list[Leaf] = ["ack", "cmd", "truth"]
        if self._parts.renewal:
            leaves.append("crt")
        self._parts.link.subscribe([topics.device(device, leaf) for leaf in leaves])
        self._orders.subscribe()

    def _handle(self, event: LinkEvent) -> None:
        match event:
            case Incoming():
                self._handle_message(event)
            case LinkUp():
                log.info("connected")
                self._set_up(True)
                self._last_down = ""
                self._birth_due = True
                self._told = None
                self._parts.outbox.reconnected()
                for updater in self._updaters.values():
                    updater.link_restored()
                if self._parts.renewal:
                    self._parts.renewal.link_up()
            case LinkDown(reason, refused):
                if self._parts.renewal:
                    self._parts.renewal.link_down(refused=refused)
                if reason != self._last_down:
                    log.warning("%s; inference goes on, trying again", reason)
                self._set_up(False)
                self._last_down = reason
                for updater in self._updaters.values():
                    updater.link_lost()
                self._orders.link_lost()
            case PublishRefused(_, reason):
                log.warning("the broker refuses a report: %s", reason)
            case SubscribeRefused(topic, reason):
                log.error("the broker refuses to send %s: %s", topic, reason)

    def _handle_message(self, message: Incoming) -> None:
        try:
            match self._parts.topics.parse(message.topic):
                case BlobTopic() as topic:
                    for updater in self._updaters.values():  # who has not asked for it passes it over
                        updater.receive(topic, message.payload)
                case DeviceTopic(device, leaf) if device == self._identity.device:
                    self._handle_own(leaf, message.payload)
                case PlanTopic(group, about):
                    self._orders.take_plan(group, about, message.payload)
                case MetaTopic(file):
                    self._orders.take_metadata(file, message.payload)
                case _:
                    raise MessageError("topic", f"{message.topic[:80]!r} is none of ours")
        except MessageError as error:
            self._count(error)
        except Exception:  # the outermost loop of a message: whatever it holds, the agent lives on
            log.exception("a message on %r could not be handled", message.topic[:80])
            self._bad["crash"] += 1

    def _count(self, error: MessageError) -> None:
        self._bad[error.kind] += 1
        if self._bad[error.kind] == 1:
            log.warning("%s (further ones are only counted)", error)

    def _handle_own(self, leaf: str, payload: bytes) -> None:
        match leaf:
            case "desired":
                self._orders.take_desired(payload)
            case "echo":
                self._orders.take_echo(payload)
            case "ack":
                self._acknowledge(decode(Ack, payload))
            case "truth":
                self._parts.observing.judge(decode(Truths, payload))
            case "crt" if self._parts.renewal:
                self._parts.renewal.receive(payload, self._parts.link)
            case "cmd" if decode(Command, payload).name == "check-now":
                self._orders.look_again()
                for updater in self._updaters.values():
                    updater.check_now()
            case _:
                raise MessageError(leaf, "not a message to a device")

    def _acknowledge(self, ack: Ack) -> None:
        self._parts.outbox.acknowledge(ack)
        if self._parts.software:
            self._parts.software.acknowledged(ack, self._identity.boot)

    def _set_up(self, up: bool) -> None:
        self._up = up
        if self._parts.software:
            self._parts.software.linked(up=up)

    def _follow_orders(self) -> None:
        try:
            wishes = self._orders.turn()
        except Exception:  # the outermost loop of orders: whatever they hold, the agent lives on
            log.exception("orders could not be followed")
            self._bad["crash"] += 1
            return
        if wishes is not None:
            for name, updater in self._updaters.items():
                updater.wish(wishes_about(name, wishes))

    def _refuse(self, about: str, error: RefusedError, whose: str | None) -> None:
        """Journal what was refused: who attacks a device should be seen in its log.

        What is about no model stands under the first one.
        """
        self._bad[error.rule] += 1
        name = whose if whose in self._updaters else self._parts.models[0].name
        state, detail = str(self._updaters[name].state), f"{error} ({about})"
        self._store("event", Event(name, state, state, "refused", None, detail[:_DETAIL]))

    # --- to the outbox and the link -----------------------------------------------------------

    def _drain_results(self) -> None:
        for model in self._parts.models:
            results, observed = model.results.take_all(), model.observed()
            if not results and not observed:
                continue
            for use in (self._hand_on, self._look):
                try:
                    use(model, results, observed)
                except Exception:  # the outermost loop of results: whatever they hold, the agent lives on
                    self._bad["results"] += 1
                    if self._bad["results"] == 1:  # it may be so at each turn
                        log.exception("results could not be handed on or looked at (further: only counted)")

    def _hand_on(self, _model: OwnModel, results: list[Result], _observed: list[Result]) -> None:
        for sink in self._parts.sinks:
            sink(results)

    def _look(self, model: OwnModel, results: list[Result], observed: list[Result]) -> None:
        self._parts.reporting.look(model.name, results, observed, model.missed())
        model.check.offer([*results, *observed])

    def _test_models(self) -> None:
        for model in self._parts.models:
            if model.golden is not None:
                try:
                    model.golden.tick()
                except Exception:  # the outermost loop of self-tests: whatever they find, the agent lives on
                    log.exception("%s could not be tested", model.name)
                    self._bad["crash"] += 1

    def _report(self, *, final: bool = False) -> None:
        parts = self._parts
        loss = Loss(
            results_dropped=sum(model.results.dropped for model in parts.models) + parts.results_lost(),
            outbox_dropped=parts.outbox.dropped,
            bad_messages=self._bad.total(),
            inputs_refused=parts.inputs_refused(),
            stuck_outputs=sum(model.check.found for model in parts.models),
        )
        try:
            telemetry, samples = parts.reporting.cut(loss, final=final)
        except Exception:  # the outermost loop of reports: whatever was counted, the agent lives on
            log.exception("a report could not be made")
            self._bad["crash"] += 1
            return
        for each in samples:
            self._store("samples", each)
        self._store("telemetry", telemetry)

    def _store(self, stream: Leaf, body: Samples | Telemetry | Event) -> None:
        try:
            self._parts.outbox.add(stream, body)
        except MessageError as error:  # what a source or a model said cannot be sent
            self._count(error)

    def _send(self) -> None:
        if self._birth_due:
            birth = encode(Online(self._identity.boot, True, self._identity.software))
            self._birth_due = not self._publish_own("online", birth)
        self._tell_state()
        self._parts.outbox.pump(self._parts.link, self._parts.topics, self._identity.device)

    def _tell_state(self) -> None:
        now_s = self._parts.clock()
        reported = self._reported()
        self._parts.turned(reported.models, self._up)
        if self._told is not None:
            if replace(reported, sequence=0, time_s=0.0, free_bytes=0) == self._told:
                return
            if _states(reported) == _states(self._told) and now_s < self._tell_due_s:
                return  # progress within one state: a few times a second is enough
        self._sequence += 1
        if self._publish_own("reported", encode(replace(reported, sequence=self._sequence))):
            self._told = replace(reported, sequence=0, time_s=0.0, free_bytes=0)
            self._tell_due_s = now_s + _REPORT_PROGRESS_EVERY_S

    def _reported(self) -> Reported:
        parts, standing = self._parts, self._parts.trust.standing()
        return Reported(
            boot=self._identity.boot,
            sequence=self._sequence,
            time_s=parts.wall_clock(),
            models=tuple(self._model_state(*named) for named in self._updaters.items()),
            groups=self._orders.groups,
            free_bytes=parts.free_bytes(),
            targets_version=standing.targets,
            root_version=standing.root,
            timestamp_version=standing.timestamp,
            clock=standing.clock,
            board=self._identity.board,
            machine=self._identity.machine,
        )

    def _model_state(self, name: str, updater: Updater) -> ModelState:
        """Return the state of a model, with what is refused now among its errors."""
        state = updater.report()
        errors = dict.fromkeys(e for e in (state.error, self._orders.error(name)) if e)
        return replace(state, error="; ".join(errors)[:_DETAIL] or None)

    def _publish_own(self, leaf: Leaf, payload: bytes) -> bool:
        topic = self._parts.topics.device(self._identity.device, leaf)
        return self._parts.link.publish(topic, payload, retain=True)

    def _say_goodbye(self) -> None:
        parts = self._parts
        self._drain_results()
        self._report(final=True)
        while parts.reporting.late:
            self._report(final=True)
        flush_s = _SHORT_FLUSH_S if parts.software and parts.software.wants_restart else _FLUSH_S
        deadline = Deadline.after(flush_s if self._up else 0.0, parts.clock)

        def settled() -> bool:
            event = parts.link.receive(0.02)
            if event is not None:
                self._handle(event)
            self._send()
            return parts.outbox.settled

        if not wait_until(settled, deadline, every_s=0.001):
            log.warning("the server has not acknowledged everything; the rest stays in the outbox")
        self._publish_own("online", encode(Online(self._identity.boot, False, self._identity.software)))
        wait_until(lambda: parts.link.unacknowledged == 0, Deadline.after(1.0, parts.clock))


def _states(reported: Reported) -> list[str]:
    return [model.state for model in reported.models]
