"""The agent: wiring, and nothing else.

Threads of the process, what each owns, and what may cross:

    main      the inference loop: source -> Serving.answer; owns the source and the watchdog's ping
    control   edge/control.py: updater, outbox, reports, sinks; owns the disk
    network   paho's; owns the socket, puts events into the link's queue
    stdin     only with an ndjson source: reads lines into a queue

Crossing: the ResultQueue (main to control), the Recorder's counters (main writes, control copies),
the runtime's one reference (control assigns, main reads), and the stop event.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge.adapters.child_trial import ChildTrial
from edge.adapters.model_store import ModelStore
from edge.adapters.notify import notify
from edge.adapters.outbox import Outbox
from edge.adapters.sinks import NdjsonSink
from edge.adapters.sources import IDLE, idle_stream, ndjson_stream, npz_stream
from edge.adapters.tflite import backend_version, make_loader
from edge.adapters.vitals import VitalsReader
from edge.control import Control, Identity, Parts
from edge.download import Download, Part
from edge.golden import Verdict
from edge.lifecycle import DEADLINE_S, State
from edge.loading import read_bundle, release_name
from edge.pointer import committed, installed
from edge.ports import Ports
from edge.recorder import Recorder
from edge.reporting import Sampler
from edge.results import ResultQueue, Sample
from edge.serving import Serving
from edge.settings import AgentSettings, SourceSettings
from edge.trust import Unsigned
from edge.updater import Updater
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.codec import encode
from wire.deadline import Deadline
from wire.errors import ModelError, SettingsError, UnavailableError
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
    with _only_owner(state):
        agent = _Agent(settings, software, stop)
        agent.adopt_first_bundle()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        return agent.work()


def check(settings: AgentSettings) -> str:
    """Prove that the agent could start, without starting it; return one line of what was found.

    Raises UnavailableError when the broker does not answer, besides what `run` raises.
    """
    address = BrokerAddress(settings.broker.host, settings.broker.port)
    backend = backend_version(settings.model.backend)
    _open_source(settings.source, threading.Event())
    if settings.model.bundle:
        _try(settings, Path(settings.model.bundle))
    try:
        socket.create_connection((address.host, address.port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UnavailableError(f"no broker at {address}: {error.strerror or error}") from error
    return f"settings are good; {backend}; broker {address} answers"


class _Agent:
    """The parts of one agent, put together."""

    def __init__(self, settings: AgentSettings, software: str, stop: threading.Event) -> None:
        self._settings = settings
        self._identity = Identity(settings.device.name, secrets.token_hex(6), software)
        self._stop = stop
        self._store = ModelStore(Path(settings.device.state))
        self._recorder = Recorder()
        self._results = ResultQueue(_RESULTS)
        self._serving = Serving(
            make_loader(settings.model.backend, threads=settings.model.threads), self._recorder, self._results
        )
        self._crashed = False

    def adopt_first_bundle(self) -> None:
        """Install the bundle of the settings if no push has brought one; raise when it cannot serve."""
        self._store.open()
        path = Path(self._settings.model.bundle)
        if not self._settings.model.bundle or self._store.read_pointer().current:
            return
        release = _try(self._settings, path)
        slot = self._store.adopt(path.read_bytes(), release)
        self._store.write_pointer(committed(installed(self._store.read_pointer(), slot)))

    def work(self) -> int:
        """Infer until told to stop; return the exit code."""
        source = _open_source(self._settings.source, self._stop)
        sink = NdjsonSink(self._settings.sink.path) if self._settings.sink.kind == "ndjson" else None
        outbox = Outbox(Path(self._settings.device.state) / "outbox.db", self._identity.boot)
        outbox.open()
        control = self._make_control(outbox, sink)
        thread = threading.Thread(target=self._run_control, args=(control,), name="control")
        log.info(
            "agent %s starts with %s", self._identity.device, backend_version(self._settings.model.backend)
        )
        thread.start()
        notify("READY=1")
        try:
            _inference_loop(source, self._serving, self._settings.source.rate_hz, self._stop)
        finally:
            self._stop.set()
            notify("STOPPING=1")
            thread.join()
            outbox.close()
            if sink:
                sink.close()
        return 1 if self._crashed else 0

    def _run_control(self, control: Control) -> None:
        try:
            control.run(self._stop)
        except Exception:
            log.exception("the control thread failed; the agent ends so that it is started anew")
            self._crashed = True
            self._stop.set()

    def _make_control(self, outbox: Outbox, sink: NdjsonSink | None) -> Control:
        settings, topics = self._settings, Topics(self._settings.broker.prefix)
        goodbye = encode(Online(self._identity.boot, False, self._identity.software))
        link = PahoLink(
            BrokerAddress(settings.broker.host, settings.broker.port),
            self._identity.device,
            Will(topics.device(self._identity.device, "online"), goodbye),
        )

        def make_download(blob: Blob, part: Part, rate_bytes_s: int | None) -> Download:
            return Download(blob, part, link, topics, rate_bytes_s=rate_bytes_s)

        trial = ChildTrial(settings.model.backend, settings.model.threads)
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
            ),
        )
        updater.recover()
        parts = Parts(
            link=link,
            topics=topics,
            trust=Unsigned(),
            updater=updater,
            outbox=outbox,
            recorder=self._recorder,
            results=self._results,
            sampler=Sampler(settings.telemetry.sample_rate, random.random),
            vitals=VitalsReader(Path(settings.device.state)).read,
            sinks=(sink.write,) if sink else (),
            clock=time.monotonic,
            wall_clock=time.time,
        )
        return Control(self._identity, parts, settings.telemetry.interval_s)


def _inference_loop(
    source: Iterator[Sample], serving: Serving, rate_hz: float, stop: threading.Event
) -> None:
    """Answer one sample after the other. The watchdog's ping comes from here: a stuck model misses it."""
    pause_s = 1 / rate_hz if rate_hz else 0.0
    due_s = alive_s = time.monotonic()
    while not stop.is_set():
        if not serving.wait_ready(_WATCHDOG_EVERY_S):
            notify("WATCHDOG=1")
            due_s = time.monotonic()
            continue
        sample = next(source, None)
        if sample is None:
            return
        if sample is not IDLE:
            serving.answer(sample)
        now_s = time.monotonic()
        if now_s - alive_s >= _WATCHDOG_EVERY_S:
            notify("WATCHDOG=1")
            alive_s = now_s
        due_s = max(due_s + pause_s, now_s)
        if due_s > now_s:
            stop.wait(due_s - now_s)


def _open_source(settings: SourceSettings, stop: threading.Event) -> Iterator[Sample]:
    match settings.kind:
        case "npz":
            return npz_stream(Path(settings.path))
        case "ndjson":
            return ndjson_stream(sys.stdin, stop)
        case _:
            return idle_stream(stop)


def _try(settings: AgentSettings, bundle: Path) -> str:
    """Put a bundle from the disk through the trial and return its release name."""
    release = release_name(read_bundle(bundle))
    trial = ChildTrial(settings.model.backend, settings.model.threads)
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


@contextlib.contextmanager
def _only_owner(state: Path) -> Iterator[None]:
    """Hold the state folder: two agents in one would undo each other's work."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(f"device.state {state}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise UnavailableError(f"another agent works in {state}") from error
    try:
        yield
    finally:
        os.close(handle)
