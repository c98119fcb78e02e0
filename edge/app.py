"""The agent: wiring, and nothing else.

Threads of the process, what each owns, and what may cross:

    main      the inference loop: source -> Serving.answer; owns the source and the watchdog's ping
    control   edge/control.py: updaters, outbox, reports, shadow; owns the disk and the sinks' queues
    sink …    one for each sink: owns its file or connection
    http      only with [http]: requests -> the same runtimes; more of them for a slow model or long bodies
    signals   turns SIGTERM and SIGINT into the stop event
    enrol     only until a claim token has become a certificate: owns its own link
    network   paho's; owns the socket, puts events into the link's queue
    source    only with lines, mqtt, a camera or a microphone: takes what comes into a queue

Crossing: the ResultQueues (main to control), the meters' counters (whoever runs a model writes,
control folds), each runtime's one reference (control assigns, others read), and the stop event.

What belongs to one model is in edge/agent_model.py; the device may have several.
"""

from __future__ import annotations

import logging
import secrets
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.adapters.answer_store import AnswerStore
from edge.adapters.board import board_name
from edge.adapters.model_folders import model_folders
from edge.adapters.model_store import ModelStore
from edge.adapters.notify import ServiceManager
from edge.adapters.outbox import Outbox
from edge.adapters.sources import IDLE
from edge.adapters.tflite import backend_version
from edge.adapters.vitals import VitalsReader, userland
from edge.agent_http import AgentHttp
from edge.agent_model import AgentModel, Shared, try_bundle
from edge.agent_observing import make_observing
from edge.broker_access import Enrolment, broker_address, check_tls, make_renewal
from edge.control import Control, Identity, OwnModel, Parts
from edge.download import Download, Part
from edge.heartbeat import SILENT_S, Heartbeat
from edge.lifecycle import DEADLINE_S, State
from edge.observing import Observing
from edge.online.delivery import DeliveryRules
from edge.online.opening import OpenSinks, OpenSource, open_sinks, open_source
from edge.online.tally import Tally
from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.reporting import Reporting, ReportParts
from edge.runtime import Runtime
from edge.selfupdate.app import OwnSoftware
from edge.serving import Serving
from edge.settings import AgentSettings, SourceSettings
from edge.status_line import status_line
from edge.trust import NoTrust, Trust
from edge.trusting import make_trust
from edge.turns import Turns
from wire.adapters.files import only_owner
from wire.adapters.paho_link import PahoLink
from wire.adapters.signals import end_on_signals, stop_on_signals
from wire.codec import encode
from wire.errors import UnavailableError
from wire.link import Will
from wire.messages import Blob, ModelState, Online
from wire.topics import Topics

log = logging.getLogger(__name__)

#: Python's default of 5 ms lets a busy control thread hold up an inference for that long.
_SWITCH_INTERVAL_S: Final = 0.0005

_WATCHDOG_EVERY_S: Final = 1.0
_CONNECT_S: Final = 5.0
#: A signal that was taken is known to all threads after so long.
_SIGNAL_S: Final = 0.05
#: What systemd lets a start take for one model: its load, and the trial of a first bundle before it.
_LOAD_S: Final = 180.0
_TRIAL_S: Final = DEADLINE_S[State.STAGE] + _LOAD_S


def run(settings: AgentSettings, software: str, path: Path) -> int | None:
    """Be the agent until SIGTERM, SIGINT or the end of the source; return the exit code.

    None: begin anew, as other software. `path` is the settings' file, for software that is pushed.
    Raises an EdgeflockError for settings, a first bundle or a source that cannot be used.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    stop = threading.Event()
    state = Path(settings.device.state)
    with only_owner(state / "lock", "agent"):
        agent = _Agent(settings, software, stop, path)
        agent.open()
        stop_on_signals(stop, agent.told)
        return agent.work()


def check(settings: AgentSettings) -> str:
    """Prove that the agent could start, without starting it; return one line of what was found.

    Raises UnavailableError when the broker does not answer, besides what `run` raises.
    """
    address = broker_address(settings)
    state, names = Path(settings.device.state), [model.name for model in settings.model]
    backends = _backends(settings)
    with only_owner(state / "lock", "agent"):
        for folder in model_folders(state, names).values():
            ModelStore(folder).open()
        trust = make_trust(settings.trust, state)
    if settings.source.kind == "npz":
        open_source(settings.source, settings.broker, Runtime(), Tally(log.warning), threading.Event())
    for model in settings.model:
        if model.bundle:
            try_bundle(model, strict=len(names) > 1)
    try:
        socket.create_connection((address.host, address.port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UnavailableError(f"no broker at {address}: {error.strerror or error}") from error
    check_tls(settings, _CONNECT_S)
    told = f"; {trust.reason}" if isinstance(trust, NoTrust) else ""
    return f"settings are good; {backends}; broker {address} answers{told}"


class _Agent:
    """The parts of one agent, put together."""

    def __init__(self, settings: AgentSettings, software: str, stop: threading.Event, path: Path) -> None:
        self._settings = settings
        self._identity = Identity(
            settings.device.name, secrets.token_hex(6), software, board_name() or None, userland()
        )
        self._stop = stop
        self._recorder = Recorder(settings.device.tags)
        self._remembered = Remembered()
        self._store = AnswerStore(Path(settings.device.state) / "answers.db")
        self._models: dict[str, AgentModel] = {}
        self._tally = Tally(log.warning)
        self._trust: Trust = NoTrust()
        self._software = OwnSoftware(
            Path(settings.device.state), path, broker_address(settings), end=stop.set
        )
        self._crashed = False
        #: A signal has asked for the end.
        self.told = threading.Event()
        self._manager = ServiceManager()
        self._heartbeat = Heartbeat(time.monotonic)

    def open(self) -> None:
        """Find each model its folder, and install first bundles; raise when the only one cannot serve."""
        settings, state = self._settings, Path(self._settings.device.state)
        folders = model_folders(state, [model.name for model in settings.model])
        for model in settings.model:
            self._models[model.name] = AgentModel(model, folders[model.name], self._recorder)
        self._trust = make_trust(settings.trust, state)
        for name, own in self._models.items():
            self._manager.starting(f"looking at the first bundle of {name}", _TRIAL_S)
            own.open(alone=len(self._models) == 1)
        self._software.open()

    @property
    def _fed(self) -> Serving:
        """What answers the source."""
        return self._models[self._settings.fed].serving

    def work(self) -> int | None:
        """Infer until told to stop; return the exit code, or None to begin anew."""
        settings, runtime = self._settings, self._fed.runtime
        sinks_settings = [sink for sink in settings.sink if sink.kind != "none"]
        source = open_source(
            settings.source, settings.broker, runtime, self._tally, self._stop,
            settle_on_next=not sinks_settings,
        )  # fmt: skip
        sinks = open_sinks(
            sinks_settings, settings.broker, runtime, self._tally, self._stop,
            # A slow sink may cost results, but no inference: here nobody waits for one.
            rules=DeliveryRules(wait=False), settle=source.settle,
        )  # fmt: skip
        servings = {name: model.serving for name, model in self._models.items()}
        http = AgentHttp(settings.http, servings, self._recorder, self._remembered, self._identity.software)
        outbox = Outbox(Path(settings.device.state) / "outbox.db", self._identity.boot)
        outbox.open()
        http.open()
        control = self._make_control(outbox, sinks, http)
        answered = threading.Event()  # the last answer is given: only then is the last report cut
        thread = threading.Thread(target=self._run_control, args=(control, answered), name="control")
        log.info("agent %s starts with %s", self._identity.device, _backends(settings))
        if settings.trust.unsigned:
            log.warning("trust.unsigned: whoever reaches the broker decides what runs here")
        self._heartbeat.turned()  # from here on it counts; a start may have taken longer
        thread.start()
        enrol = Enrolment(settings)
        enrol.start()
        http.start(self._crash)
        # Also without a model: a fresh device waits for its first push for as long as that takes, and the
        # one whose model is lost must stay within reach of the next.
        self._manager.ready()
        pinger = _Pinger(self._manager, self._heartbeat)
        try:
            _inference_loop(source, self._fed, _pause_s(settings.source), self._stop, pinger)
        finally:
            if self._software.wants_restart:  # the service goes on
                self._manager.restarting()
            else:
                self._manager.stopping()
            http.stop()
            enrol.close()
            source.close()
            answered.set()
            thread.join()
            sinks.close()
            outbox.close()
            self._store.close()
            self._software.close(told=self.told.is_set() and not self._crashed)
        if self._crashed:
            return 1
        return None if self._software.wants_restart and not self._told_meanwhile() else 0

    def _told_meanwhile(self) -> bool:
        """Return whether a signal came while we ended for a restart: then the next start is the restart."""
        end_on_signals()
        return self.told.wait(_SIGNAL_S)

    def _run_control(self, control: Control, answered: threading.Event) -> None:
        try:
            control.run(answered)
        except Exception:
            log.exception("the control thread failed")
            self._crash()

    def _crash(self) -> None:
        """End for a thread that broke off: who starts us anew gets all of them."""
        log.error("the agent ends so that it is started anew")
        self._crashed = True
        self._stop.set()

    def _make_control(self, outbox: Outbox, sinks: OpenSinks, http: AgentHttp) -> Control:
        settings, topics = self._settings, Topics(self._settings.broker.prefix)
        goodbye = encode(Online(self._identity.boot, False, self._identity.software))
        link = PahoLink(
            broker_address(settings),
            self._identity.device,
            Will(topics.device(self._identity.device, "online"), goodbye),
        )

        def make_download(blob: Blob, part: Part, rate_bytes_s: int | None) -> Download:
            return Download(blob, part, link, topics, rate_bytes_s=rate_bytes_s)

        shared = Shared(
            device=settings.device.name,
            make_download=make_download,
            journal=lambda event: outbox.add("event", event),
            clock=time.monotonic,
            turns=Turns(),
            golden_every_s=settings.telemetry.golden_every_s,
        )
        models = tuple(self._recover(name, shared) for name in self._models)
        servings = [model.serving for model in self._models.values()]
        self._software.recover(shared, {name: model.serving for name, model in self._models.items()})
        observing = make_observing(settings, self._recorder, self._remembered, servings, self._store)
        parts = Parts(
            link=link,
            topics=topics,
            trust=self._trust,
            models=models,
            outbox=outbox,
            reporting=self._make_reporting(observing, http),
            observing=observing,
            sinks=(sinks.write,),
            results_lost=lambda: self._tally.lost + self._tally.dropped_rows,
            inputs_refused=lambda: sum(s.inputs_refused for s in servings) + self._tally.refused,
            free_bytes=ModelStore(Path(settings.device.state)).free_bytes,
            clock=time.monotonic,
            wall_clock=time.time,
            renewal=make_renewal(settings),
            turned=self._turned,
            software=self._software,
        )
        return Control(self._identity, parts)

    def _recover(self, name: str, shared: Shared) -> OwnModel:
        self._manager.starting(f"loading {name}", _LOAD_S)
        return self._models[name].recover(shared)

    def _turned(self, models: Sequence[ModelState], connected: bool) -> None:
        self._heartbeat.turned()
        if not self._stop.is_set():
            self._manager.status(status_line(models, connected=connected))

    def _make_reporting(self, observing: Observing, http: AgentHttp) -> Reporting:
        telemetry = self._settings.telemetry
        parts = ReportParts(
            recorder=self._recorder,
            observing=observing,
            vitals=VitalsReader(Path(self._settings.device.state)),
            clock=time.monotonic,
            waiting=lambda: http.in_flight + self._tally.waiting,
        )
        return Reporting(parts, telemetry.interval_s, int(telemetry.budget_kb * 1000))


def _pause_s(settings: SourceSettings) -> float:
    return 1 / settings.rate_hz if settings.kind == "npz" and settings.rate_hz else 0.0


def _backends(settings: AgentSettings) -> str:
    return ", ".join(dict.fromkeys(backend_version(model.backend) for model in settings.model))


def _inference_loop(
    source: OpenSource, serving: Serving, pause_s: float, stop: threading.Event, alive: _Pinger
) -> None:
    """Answer one sample after the other. The watchdog's ping comes from here: a stuck model misses it."""
    due_s = time.monotonic()
    while not stop.is_set():
        alive.ping()
        if not serving.wait_ready(_WATCHDOG_EVERY_S):
            due_s = time.monotonic()
            continue
        sample = next(source.samples, None)
        if sample is None:
            return
        if sample is not IDLE:
            serving.answer(sample, source.refuse)
        due_s = max(due_s + pause_s, time.monotonic())
        while (left_s := due_s - time.monotonic()) > 0 and not stop.wait(min(left_s, _WATCHDOG_EVERY_S)):
            alive.ping()


class _Pinger:
    """Tells systemd that we live, once a second however often it is called."""

    def __init__(self, manager: ServiceManager, heartbeat: Heartbeat) -> None:
        self._manager = manager
        self._heartbeat = heartbeat
        self._last_s = 0.0
        self._silent = False

    def ping(self) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < _WATCHDOG_EVERY_S:
            return
        self._last_s = now_s
        if self._heartbeat.alive:
            self._silent = False
            self._manager.alive()
        elif not self._silent:
            self._silent = True
            log.error("the control thread has not turned for %.0f s; the watchdog may end us", SILENT_S)
