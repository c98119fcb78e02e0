"""One model, one source, some sinks: what `edgeflock run` does. Wiring, and nothing else.

Threads of the process, what each owns, and what may cross:

    main       source -> model -> the sinks' queues
    source     only with lines, mqtt, a camera or a microphone: takes what comes into a queue
    sink …     one for each sink: owns its file or connection, takes rows from its queue
    network    paho's, one for each mqtt source or sink
    signals    turns SIGTERM and SIGINT into the stop event

Crossing: the queues, the Tally's counters, and the stop event.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge import open_bundle
from edge.adapters.progress_line import ProgressLine
from edge.adapters.sources import IDLE
from edge.backend import Tensor
from edge.online.delivery import GIVE_UP_S, DeliveryRules
from edge.online.opening import OpenSinks, OpenSource, open_sinks, open_source
from edge.online.samples import check_finite
from edge.online.tally import Tally
from edge.prediction import Prediction
from edge.results import Result, Sample
from edge.runtime import Runtime
from edge.settings import BrokerSettings, SinkSettings, SourceSettings
from wire.adapters.signals import stop_on_signals
from wire.errors import InputError, ModelError

#: Python's default of 5 ms lets a busy sink hold up an inference for that long.
_SWITCH_INTERVAL_S: Final = 0.0005

_TURN_S: Final = 0.2
_SHOWN_EVERY_S: Final = 1.0

Predict = Callable[[Any], Prediction]


@dataclass(frozen=True)
class RunSettings:
    """What to run. `count` ends the run after so many answers (0: never); `strict` is about the exit code."""

    model: Path
    source: SourceSettings
    sinks: tuple[SinkSettings, ...]
    broker: BrokerSettings
    backend: str = "auto"
    threads: int = 1
    count: int = 0
    give_up_s: float = GIVE_UP_S
    strict: bool = False


def run(settings: RunSettings) -> int:
    """Answer the source until its end, `count`, SIGTERM or SIGINT; return the exit code.

    0: every answer is in every sink. 1: the model failed on an input, an answer was lost, or, when
    `strict`, an input was refused or dropped. A summary goes to standard error either way.

    Raises an EdgeflockError for a model, source or sink that cannot be used.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    stop = threading.Event()
    progress = _Progress(settings.sinks)
    tally = Tally(progress.say)
    with open_bundle(settings.model, backend=settings.backend, threads=settings.threads) as runtime:
        source = open_source(settings.source, settings.broker, runtime, tally, stop, settle_on_next=False)
        rules = DeliveryRules(wait=not source.live, give_up_s=settings.give_up_s)
        sinks = open_sinks(
            settings.sinks, settings.broker, runtime, tally, stop, rules=rules, settle=source.settle
        )
        stop_on_signals(stop)
        try:
            with _predictor(runtime) as predict:
                loop = _Loop(source, sinks, tally, stop, _inputs(runtime), progress)
                loop.run(predict, _pause_s(settings.source), settings.count)
        finally:
            source.close()  # first: while the sinks finish, nothing more is to come and to be dropped
            sinks.close()
            progress.say(tally.summary())
    return _exit_code(tally, strict=settings.strict)


def _inputs(runtime: Runtime) -> tuple[Tensor, ...]:
    assert runtime.model is not None, "just loaded"
    return runtime.model.inputs


def _pause_s(source: SourceSettings) -> float:
    return 1 / source.rate_hz if source.kind == "npz" and source.rate_hz else 0.0


@dataclass(frozen=True)
class _Loop:
    """The main thread's work: one sample after the other."""

    source: OpenSource
    sinks: OpenSinks
    tally: Tally
    stop: threading.Event
    tensors: tuple[Tensor, ...]
    progress: _Progress

    def run(self, predict: Predict, pause_s: float, count: int) -> None:
        """Answer until the source ends, a sink gives up, `count` answers are given, or it is told to stop."""
        due_s = time.monotonic()
        for sample in self.source.samples:
            if sample is not IDLE:
                self._answer(sample, predict)  # also when told to stop: a live source has given it away
                due_s = max(due_s + pause_s, time.monotonic())
            if self.stop.is_set():
                return
            self.progress.show(self.tally)
            if self.sinks.broken is not None:
                self.progress.say(f"{self.sinks.broken.name} cannot be written to; the run ends")
                return
            if count and self.tally.answers >= count:
                return
            while (left_s := due_s - time.monotonic()) > 0 and not self.stop.wait(min(left_s, _TURN_S)):
                pass

    def _answer(self, sample: Sample, predict: Predict) -> None:
        """Answer one sample; one that does not fit, or on which the model fails, is counted."""
        try:
            check_finite(sample.inputs, self.tensors)
            prediction = predict(sample.inputs)
        except InputError as error:
            self.tally.refuse("input", f"input {sample.id[:80]!r}: {error}")
            if self.source.refuse is not None:
                self.source.refuse(sample.token)
        except ModelError as error:
            self.tally.fail(f"input {sample.id[:80]!r}: {error}")
        else:
            self.tally.answered(prediction.latency_s)
            self.sinks.write([Result(sample, prediction, time.time())])


class _Progress:
    """A line on a terminal that tells how it goes, and what is said in between. Any thread may say.

    There is none where standard error is no terminal, or the answers go to the same one.
    """

    def __init__(self, sinks: Sequence[SinkSettings]) -> None:
        self._line = ProgressLine(sys.stderr, every_s=_SHOWN_EVERY_S)
        to_terminal = any(sink.kind == "ndjson" and sink.path == "-" for sink in sinks)
        mixed = to_terminal and sys.stdout is not None and sys.stdout.isatty()
        self._shown = self._line.on_terminal and not mixed
        self._before = time.monotonic(), 0

    def show(self, tally: Tally) -> None:
        if self._shown:
            self._line.update(lambda: tally.standing(self._rate(tally.answers)))

    def say(self, text: str) -> None:
        if self._shown:
            self._line.clear()
        _say(text)

    def _rate(self, answers: int) -> float:
        """Return answers a second since the line was last shown."""
        (since_s, before), now_s = self._before, time.monotonic()
        self._before = now_s, answers
        return (answers - before) / max(now_s - since_s, 1e-9)


@contextlib.contextmanager
def _predictor(runtime: Runtime) -> Iterator[Predict]:
    """Give what answers: the pool, or an interpreter of its own for a model that remembers."""
    if runtime.model is not None and runtime.model.stateful:
        with runtime.stream() as stream:
            yield stream.predict
    else:
        yield runtime.predict


def _exit_code(tally: Tally, *, strict: bool) -> int:
    bad = tally.failed or tally.lost or (strict and (tally.refused or tally.dropped or tally.dropped_rows))
    return 1 if bad else 0


def _say(text: str) -> None:
    if sys.stderr is not None:  # print would take standard output for a closed one
        with contextlib.suppress(OSError):
            print(f"edgeflock run: {text}", file=sys.stderr, flush=True)
