"""The agent: wiring, and nothing else.

Threads of the process, what each owns, and what may cross:

    main      the inference loop: source -> Serving.answer; owns the source and the watchdog's ping
    control   edge/control.py: updater, outbox, reports, shadow; owns the disk and the sinks' queues
    sink …    one for each sink: owns its file or connection
    http      only with [http]: requests -> the same runtime; more of them for a slow model or long bodies
    signals   turns SIGTERM and SIGINT into the stop event
    enrol     only until a claim token has become a certificate: owns its own link
    network   paho's; owns the socket, puts events into the link's queue
    source    only with lines, mqtt, a camera or a microphone: takes what comes into a queue

Crossing: the ResultQueue (main to control), the meters' counters (whoever runs the model writes,
control folds), the runtime's one reference (control assigns, others read), and the stop event.
"""

from __future__ import annotations

import logging
import random
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from edge.adapters.child_trial import MEMORY_BYTES, ChildTrial
from edge.adapters.cores import shared_out
from edge.adapters.loaders import choose_loader
from edge.adapters.model_store import ModelStore
from edge.adapters.notify import notify
from edge.adapters.outbox import Outbox
from edge.adapters.sources import IDLE
from edge.adapters.tflite import backend_version
from edge.adapters.vitals import VitalsReader, available_bytes, total_bytes, userland
from edge.agent_http import AgentHttp
from edge.broker_access import Enrolment, broker_address, check_tls, make_renewal
from edge.control import Control, Identity, Parts
from edge.download import Download, Part
from edge.fitness import Board
from edge.golden import Verdict
from edge.lifecycle import DEADLINE_S, State
from edge.loading import read_bundle, release_name
from edge.online.delivery import DeliveryRules
from edge.online.opening import OpenSinks, OpenSource, open_sinks, open_source
from edge.online.tally import Tally
from edge.pointer import committed, installed
from edge.ports import Ports
from edge.recorder import Recorder
from edge.reporting import Sampler
from edge.results import ResultQueue
from edge.runtime import Runtime
from edge.selfcheck import SelfCheck
from edge.serving import HowToServe, Serving
from edge.settings import AgentSettings, ModelSettings, SourceSettings
from edge.swapping import PROCESS_BYTES, SwapPolicy
from edge.trust import NoTrust, Trust
from edge.trusting import make_trust
from edge.updater import Updater
from wire.adapters.files import only_owner
from wire.adapters.paho_link import PahoLink
from wire.adapters.signals import stop_on_signals
from wire.codec import encode
from wire.deadline import Deadline
from wire.errors import ModelError, UnavailableError
from wire.link import Will
from wire.messages import Blob, Online
from wire.topics import Topics

log = logging.getLogger(__name__)

#: Python's default of 5 ms lets a busy control thread hold up an inference for that long.
_SWITCH_INTERVAL_S: Final = 0.0005

_RESULTS: Final = 4096
_WATCHDOG_EVERY_S: Final = 1.0
_CONNECT_S: Final = 5.0


def run(settings: AgentSettings, software: str) -> int:
    """Be the agent until SIGTERM, SIGINT or the end of the source; return the exit code.

    Raises an EdgeflockError for settings, a first bundle or a source that cannot be used.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    stop = threading.Event()
    state = Path(settings.device.state)
    with only_owner(state / "lock", "agent"):
        agent = _Agent(settings, software, stop)
        agent.adopt_first_bundle()
        stop_on_signals(stop)
        return agent.work()


def check(settings: AgentSettings) -> str:
    """Prove that the agent could start, without starting it; return one line of what was found.

    Raises UnavailableError when the broker does not answer, besides what `run` raises.
    """
    address = broker_address(settings)
    backend = backend_version(settings.model.backend)
    with only_owner(Path(settings.device.state) / "lock", "agent"):
        ModelStore(Path(settings.device.state)).open()
        trust = make_trust(settings.trust, Path(settings.device.state))
    if settings.source.kind == "npz":
        open_source(settings.source, settings.broker, Runtime(), Tally(log.warning), threading.Event())
    if settings.model.bundle:
        _try(settings, Path(settings.model.bundle))
    try:
        socket.create_connection((address.host, address.port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UnavailableError(f"no broker at {address}: {error.strerror or error}") from error
    check_tls(settings, _CONNECT_S)
    told = f"; {trust.reason}" if isinstance(trust, NoTrust) else ""
    return f"settings are good; {backend}; broker {address} answers{told}"


class _Agent:
    """The parts of one agent, put together."""

    def __init__(self, settings: AgentSettings, software: str, stop: threading.Event) -> None:
        self._settings = settings
        self._identity = Identity(settings.device.name, settings.model.name, secrets.token_hex(6), software)
        self._stop = stop
        self._store = ModelStore(Path(settings.device.state))
        self._recorder = Recorder()
        self._results = ResultQueue(_RESULTS)
        self._serving = Serving(_how_to_serve(settings.model), self._recorder, self._results)
        self._tally = Tally(log.warning)
        self._trust: Trust = NoTrust()
        self._crashed = False

    def adopt_first_bundle(self) -> None:
        """Install the bundle of the settings if no push has brought one; raise when it cannot serve."""
        self._store.open()
        self._trust = make_trust(self._settings.trust, Path(self._settings.device.state))
        path = Path(self._settings.model.bundle)
        if not self._settings.model.bundle or self._store.read_pointer().current:
            return
        release = _try(self._settings, path)
        slot = self._store.adopt(path.read_bytes(), release)
        self._store.write_pointer(committed(installed(self._store.read_pointer(), slot)))

    def work(self) -> int:
        """Infer until told to stop; return the exit code."""
        settings, runtime = self._settings, self._serving.runtime
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
        http = AgentHttp(settings, self._serving, self._recorder, self._identity.software)
        outbox = Outbox(Path(settings.device.state) / "outbox.db", self._identity.boot)
        outbox.open()
        http.open()
        control = self._make_control(outbox, sinks)
        answered = threading.Event()  # the last answer is given: only then is the last report cut
        thread = threading.Thread(target=self._run_control, args=(control, answered), name="control")
        log.info("agent %s starts with %s", self._identity.device, backend_version(settings.model.backend))
        if settings.trust.unsigned:
            log.warning("trust.unsigned: whoever reaches the broker decides what runs here")
        thread.start()
        enrol = Enrolment(settings)
        enrol.start()
        http.start()
        notify("READY=1")
        try:
            _inference_loop(source, self._serving, _pause_s(settings.source), self._stop)
        finally:
            notify("STOPPING=1")
            http.stop()
            enrol.close()
            source.close()
            answered.set()
            thread.join()
            sinks.close()
            outbox.close()
        return 1 if self._crashed else 0

    def _run_control(self, control: Control, answered: threading.Event) -> None:
        try:
            control.run(answered)
        except Exception:
            log.exception("the control thread failed; the agent ends so that it is started anew")
            self._crashed = True
            self._stop.set()

    def _make_control(self, outbox: Outbox, sinks: OpenSinks) -> Control:
        settings, topics = self._settings, Topics(self._settings.broker.prefix)
        goodbye = encode(Online(self._identity.boot, False, self._identity.software))
        link = PahoLink(
            broker_address(settings),
            self._identity.device,
            Will(topics.device(self._identity.device, "online"), goodbye),
        )

        def make_download(blob: Blob, part: Part, rate_bytes_s: int | None) -> Download:
            return Download(blob, part, link, topics, rate_bytes_s=rate_bytes_s)

        trial = _make_trial(settings.model)
        updater = Updater(
            settings.device.name,
            settings.model.name,
            Ports(
                store=self._store,
                trial=trial,
                serving=self._serving,
                make_download=make_download,
                journal=lambda event: outbox.add("event", event),
                clock=time.monotonic,
                board=Board(userland(), backend_version(settings.model.backend), _trial_memory_bytes()),
                slower_limit=settings.model.slower_limit,
            ),
        )
        updater.recover()
        parts = Parts(
            link=link,
            topics=topics,
            trust=self._trust,
            updater=updater,
            outbox=outbox,
            recorder=self._recorder,
            results=self._results,
            sampler=Sampler(settings.telemetry.sample_rate, random.random),
            vitals=VitalsReader(Path(settings.device.state)).read,
            sinks=(sinks.write,),
            results_lost=lambda: self._tally.lost + self._tally.dropped_rows,
            inputs_refused=lambda: self._serving.inputs_refused + self._tally.refused,
            check=SelfCheck(self._serving),
            observed=self._serving.take_observed,
            free_bytes=self._store.free_bytes,
            clock=time.monotonic,
            wall_clock=time.time,
            renewal=make_renewal(settings),
        )
        return Control(self._identity, parts, settings.telemetry.interval_s)


def _pause_s(settings: SourceSettings) -> float:
    return 1 / settings.rate_hz if settings.kind == "npz" and settings.rate_hz else 0.0


def _how_to_serve(settings: ModelSettings) -> HowToServe:
    threads, pool = shared_out(settings.threads, settings.pool)
    return HowToServe(
        loader=choose_loader(settings.backend, threads=threads, isolation=settings.isolation),
        pool=pool,
        overhead_bytes=PROCESS_BYTES if settings.isolation == "process" else 0,
        policy=SwapPolicy(settings.swap),
        shadow_share=settings.shadow_share,
        shadow_pairs=settings.shadow_pairs,
        available_bytes=available_bytes,
        random=random.random,
    )


def _inference_loop(source: OpenSource, serving: Serving, pause_s: float, stop: threading.Event) -> None:
    """Answer one sample after the other. The watchdog's ping comes from here: a stuck model misses it."""
    alive = _Pinger()
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

    def __init__(self) -> None:
        self._last_s = 0.0

    def ping(self) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s >= _WATCHDOG_EVERY_S:
            notify("WATCHDOG=1")
            self._last_s = now_s


def _make_trial(settings: ModelSettings) -> ChildTrial:
    return ChildTrial(
        settings.backend,
        settings.threads,
        memory_bytes=_trial_memory_bytes(),
        p99_us=settings.p99_limit_ms * 1e3 or None,
    )


def _trial_memory_bytes() -> int:
    """On a small board a model gets at most half of the memory; what is more it would not serve with."""
    return min(MEMORY_BYTES, total_bytes() // 2)


def _try(settings: AgentSettings, bundle: Path) -> str:
    """Put a bundle from the disk through the trial and return its release name."""
    release = release_name(read_bundle(bundle))
    trial = _make_trial(settings.model)
    verdict: Verdict | None = None
    trial.start(bundle)
    try:
        deadline = Deadline.after(DEADLINE_S[State.STAGE])
        while verdict is None and not deadline.passed:
            time.sleep(0.02)
            verdict = trial.poll()
    finally:
        trial.kill()
    if verdict is None or not verdict.passed:
        raise ModelError(f"{bundle} failed its trial: {verdict.reason if verdict else 'no answer'}")
    return release
