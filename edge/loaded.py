"""One model, loaded and ready: its interpreters, and who may use which now.

Rules:
- an interpreter is used by one thread at a time, because two in one give silently wrong answers: idle
  ones wait in a queue, a call takes one out and puts it back;
- closing takes them all out, so it waits for the calls inside and no call waits for it; who asks
  afterwards is told that the model is closed and goes to the one that follows;
- a model of one input and one output has a shortcut: one function that does all of it, because a dense
  model that runs in 1 us shows each frame and each attribute on the way.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edge.backend import INTERPRETER_ERRORS, Array, Facts, InputMemory, Interpreter, Tensor
from edge.meter import Meter
from edge.prediction import Prediction, Predictions, Reading
from edge.rows import join, rows_of
from edge.tensors import InputWriter
from wire.errors import BusyError, InputError, ModelError
from wire.manifest import Manifest
from wire.reference import Reference

#: Closing waits so long for a call.
_LONGEST_CALL_S: Final = 60.0
_WARM_UP_CALLS: Final = 3  # the first invoke is up to 40 % dearer than the second

#: One interpreter as the idle queue holds it: the memory of the first input, what writes any input,
#: what runs, what reads the first output, what does all of that for any model, and the interpreter
#: itself. A plain tuple, which is unpacked at once. Whoever took it may use it.
_Worker = tuple[
    InputMemory,
    Callable[[Any], None],
    Callable[[], Any],
    Callable[[], Array],
    Callable[[Any], tuple[Array, ...]],
    Interpreter,
]

log = logging.getLogger(__name__)

_RUN: Final = 4
_INTERPRETER: Final = 5

#: Runtime.predict, and what stands in for it.
Predict = Callable[..., Prediction]


class ModelClosedError(Exception):
    """The model was closed before the call got an interpreter: whatever follows it answers."""


class LoadedModel:
    """A model that can answer; `edge.loading` makes one from a bundle.

    `interpreters` are equal and at least one. `fresh` loads another: for a stream of a stateful model.
    """

    def __init__(
        self,
        release: str,
        interpreters: Sequence[Interpreter],
        *,
        labels: tuple[str, ...] = (),
        manifest: Manifest | None = None,
        reference: Reference | None = None,
        meter: Meter | None = None,
        fresh: Callable[[], Interpreter] | None = None,
    ) -> None:
        self.release = release
        self.labels = labels
        self.manifest = manifest
        self.reference = reference
        self.meter = meter or Meter()
        self.inputs: tuple[Tensor, ...] = interpreters[0].inputs
        self.outputs: tuple[Tensor, ...] = interpreters[0].outputs
        self.facts: Facts = interpreters[0].facts
        #: Workers that nobody uses; None in it says that the model is closed.
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._reading = Reading(release, self.outputs, labels, manifest)
        self._interpreters = list(interpreters)
        self._fresh = fresh
        self._resized: tuple[int, Interpreter] | None = None
        self._resizing = threading.Lock()
        for interpreter in interpreters:
            self._idle.put(_Access(interpreter).worker())

    @property
    def pool(self) -> int:
        """How many calls run side by side."""
        return len(self._interpreters)

    @property
    def stateful(self) -> bool:
        return self.facts.stateful

    def warm_up(self) -> None:
        """Run each interpreter on zeros, so that no caller pays for the first call.

        Each time anew: an interpreter may use the inputs' memory for what it computes, and garbage is
        no index into an embedding. Not for stateful models: it would leave its traces in them.
        """
        for interpreter in self._interpreters:
            warm_up(interpreter)

    def run(self, inputs: Any, *, timeout_s: float | None = None, signature: str | None = None) -> Prediction:
        """Answer one input, see Runtime.predict; raises ModelClosedError besides."""
        worker = self._take(timeout_s)
        try:
            if signature is not None:
                return self._run_signature(worker[_INTERPRETER], signature, inputs)
            start = time.perf_counter_ns()
            raw = worker[_RUN](inputs)
            return self._counted(raw, time.perf_counter_ns() - start)
        except (*INTERPRETER_ERRORS, ModelError) as error:
            raise self._failure(error) from error
        finally:
            self._idle.put(worker)

    def probe(
        self, inputs: Any, answered: Sequence[int], *, timeout_s: float
    ) -> tuple[int, Prediction | None]:
        """Answer an input and count nothing; return which interpreter did it, and its answer.

        One that is among `answered` is given back as it is: its answer is None. Nobody called: it is the
        model that asks itself. `timeout_s` is how long to wait for an interpreter. Raises as `run`.
        """
        worker = self._take(timeout_s)
        try:
            key = id(worker[_INTERPRETER])
            if key in answered:
                return key, None
            return key, Prediction((self._reading, worker[_RUN](inputs), 0))
        except INTERPRETER_ERRORS as error:
            why = " ".join(str(error).split())[:300]
            raise ModelError(f"the model failed while running: {why}") from error
        finally:
            self._idle.put(worker)

    def shortcut(self, otherwise: Predict) -> Predict:
        """Return `run` in one function; `otherwise` takes the calls that are not of the simplest kind.

        The simplest kind is an array in the shape and dtype of the only input, with one output to
        read, no time limit and a model that is not closed. Other models get `otherwise` itself.
        """
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return otherwise
        take, give_back, failure = self._idle.get, self._idle.put, self._failure
        clock, reading, meter, ndarray = time.perf_counter_ns, self._reading, self.meter, np.ndarray
        pending, dtype, shape = meter.pending, self.inputs[0].dtype, self.inputs[0].shape
        count, limit = pending.append, meter.limit
        keep = None if meter.outputs is None else meter.outputs.append

        def predict(
            inputs: Any, *, timeout_s: float | None = None, signature: str | None = None
        ) -> Prediction:
            if timeout_s is not None or signature is not None:
                return otherwise(inputs, timeout_s=timeout_s, signature=signature)
            worker = take()
            if worker is None:
                give_back(None)
                return otherwise(inputs)
            view, write, invoke, read, _, _ = worker
            try:
                start = clock()
                if inputs.__class__ is ndarray and inputs.dtype is dtype and inputs.shape == shape:
                    view[...] = inputs
                else:
                    write(inputs)
                invoke()
                raw = read()
                took = clock() - start
            except (*INTERPRETER_ERRORS, ModelError) as error:
                raise failure(error) from error
            finally:
                give_back(worker)
            count(took)
            if keep is not None:
                keep(raw)
            if len(pending) > limit:
                meter.fold()
            return Prediction((reading, raw, took))

        return predict

    def run_batch(
        self, inputs: Any, *, resize: bool = False, timeout_s: float | None = None, asked: int | None = None
    ) -> Predictions:
        """Answer n inputs, see Runtime.predict_batch; raises ModelClosedError besides."""
        rows = rows_of(inputs, self.inputs)
        worker = self._take(timeout_s)
        start = time.perf_counter_ns()
        try:
            if resize and len(rows) > 1 and not self.stateful:
                with self._resizing:  # one for the whole pool: it is as large as a batch
                    raw = self._run_resized(inputs, len(rows))
            else:
                raw = join([worker[_RUN](row) for row in rows], self.outputs)
        except (*INTERPRETER_ERRORS, ModelError) as error:
            raise self._failure(error) from error
        finally:
            self._idle.put(worker)
        took = time.perf_counter_ns() - start
        asked = len(rows) if asked is None else asked
        self.meter.add(took // max(1, len(rows)), asked, raw[0][:asked])
        return Predictions(self._reading, raw, took)

    def stream(self) -> LoadedModel:
        """Return a model with an interpreter of its own, for one stream of a stateful model.

        Calls are counted here too. Close it when the stream ends: that is also how its state is reset.
        """
        if self._fresh is None:
            raise ModelError(f"{self.release} was loaded without its file: it has one stream only")
        return LoadedModel(
            self.release, [self._fresh()], labels=self.labels, manifest=self.manifest, meter=self.meter
        )

    def close(self) -> None:
        """Free the interpreters, each after the call that is inside it.

        One that does not come back (a signal's exception came between its take and its use) is left
        alone: whoever might be in it must not lose it.
        """
        taken = [worker[_INTERPRETER] for worker in self._take_all()]
        self._idle.put(None)
        self._interpreters.clear()
        while taken:  # nothing else may hold one: what it frees is given back to the system by its close
            taken.pop().close()
        with self._resizing:
            if self._resized is not None:
                self._resized[1].close()
                self._resized = None

    # --- one call -----------------------------------------------------------------------------

    def _take_all(self) -> Iterator[_Worker]:
        for _ in self._interpreters:
            try:
                worker = self._idle.get(timeout=_LONGEST_CALL_S)
            except queue.Empty:
                log.warning("an interpreter of %s was not given back", self.release)
                continue
            if worker is None:
                return
            yield worker

    def _take(self, timeout_s: float | None) -> _Worker:
        try:
            worker = self._idle.get(timeout=timeout_s if timeout_s is None else max(0.0, timeout_s))
        except queue.Empty:
            raise BusyError(f"all {self.pool} interpreters of {self.release} are busy") from None
        if worker is None:
            self._idle.put(None)
            raise ModelClosedError(self.release)
        return worker

    def _counted(self, raw: tuple[Array, ...], took_ns: int) -> Prediction:
        meter = self.meter
        meter.pending.append(took_ns)
        if meter.outputs is not None:
            meter.outputs.append(raw[0])
        if len(meter.pending) > meter.limit:
            meter.fold()
        return Prediction((self._reading, raw, took_ns))

    def _failure(self, error: BaseException) -> ModelError:
        """Count a call that the interpreter failed, and return what to raise for it."""
        self.meter.failed()
        if not isinstance(error, ModelError):
            error = ModelError(f"the model failed while running: {' '.join(str(error).split())[:300]}")
        error.release = self.release
        return error

    def _run_signature(self, interpreter: Interpreter, signature: str, inputs: Any) -> Prediction:
        if signature not in self.facts.signatures:
            known = ", ".join(self.facts.signatures) or "none"
            raise InputError(f"no signature {signature!r} in {self.release}: it has {known}")
        if not isinstance(inputs, Mapping):
            raise InputError(f"signature {signature!r} takes a mapping of its inputs by name")
        start = time.perf_counter_ns()
        found = interpreter.call(signature, inputs)
        took = time.perf_counter_ns() - start
        self.meter.add(took)
        outputs = tuple(Tensor(i, n, v.dtype, v.shape) for i, (n, v) in enumerate(found.items()))
        return Prediction((Reading(self.release, outputs, self.labels), tuple(found.values()), took))

    def _run_resized(self, inputs: Any, count: int) -> tuple[Array, ...]:
        if self._resized is None or self._resized[0] != count:
            old, self._resized = self._resized, None
            if old is not None:
                old[1].close()
                del old
            try:
                self._resized = (count, self._interpreters[0].resized(count))
            except ModelError as error:  # the model is well: it was asked for what it cannot do
                raise InputError(str(error)) from error
        return _Access(self._resized[1]).run(inputs)


class _Access:
    """What writes into one interpreter, runs it and reads from it."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        tensors = interpreter.inputs
        views = [interpreter.input_view(i) for i in range(len(tensors))]
        self._writers = [InputWriter(*pair) for pair in zip(tensors, views, strict=True)]
        self._readers = [interpreter.reader(i) for i in range(len(interpreter.outputs))]
        self._keys = sorted(tensor.key for tensor in tensors)
        named = list(zip(tensors, self._writers, strict=True))
        self._by_name = {t.name: writer for t, writer in named} | {t.key: writer for t, writer in named}
        self._invoke = interpreter.invoke
        self._first = views[0]

    def worker(self) -> _Worker:
        return self._first, self._write, self._invoke, self._readers[0], self.run, self._interpreter

    def run(self, inputs: Any) -> tuple[Array, ...]:
        """Write, invoke, read; raises InputError, ModelError or INTERPRETER_ERRORS."""
        self._write(inputs)
        self._invoke()
        return tuple([read() for read in self._readers])

    def _write(self, inputs: Any) -> None:
        if isinstance(inputs, Mapping):
            found = [self._by_name.get(name) for name in inputs]
            if None in found or not len(inputs) == len(set(map(id, found))) == len(self._writers):
                raise InputError(f"inputs {sorted(map(str, inputs))} given, the model takes {self._keys}")
            for writer, value in zip(found, inputs.values(), strict=True):
                assert writer is not None
                writer.write(value)
        elif len(self._writers) == 1:
            self._writers[0].write(inputs)
        elif isinstance(inputs, (list, tuple)) and len(inputs) == len(self._writers):
            for writer, value in zip(self._writers, inputs, strict=True):
                writer.write(value)
        else:
            raise InputError(
                f"the model takes {len(self._writers)} inputs: a mapping of {self._keys}, or a list"
            )


def warm_up(interpreter: Interpreter) -> None:
    """Run `interpreter` on zeros a few times, if it takes them: a model that divides by an input does not.

    Whether a model runs at all is for the golden set to say, and for the first call.
    """
    try:
        for _ in range(_WARM_UP_CALLS):
            for position in range(len(interpreter.inputs)):
                interpreter.input_view(position)[...] = 0
            interpreter.invoke()
    except (*INTERPRETER_ERRORS, ModelError) as error:
        log.debug("not warm, it does not take zeros: %s", error)
