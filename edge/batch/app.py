"""`edgeflock batch`, wired: files in, answers out, and on again after an interruption.

Threads: the main one reads the inputs and writes the answers; a pool decodes, prepares and infers, a
chunk of rows at a time. Only chunks cross over, and only so many are under way that memory does not
grow with the inputs. Chunks are written in the order in which they were read, whoever is first.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge import open_bundle
from edge.adapters.batch_inputs import Source, Survey, list_sources, read_entries, survey
from edge.adapters.batch_outputs import FileOutput, Output, leave_unused
from edge.adapters.batch_sqlite import SqliteOutput
from edge.adapters.cores import usable_cores
from edge.adapters.interruption import Interruption, interruption
from edge.adapters.progress_line import ProgressLine
from edge.batch.answering import Answered, Answerer
from edge.batch.answers import Form, Wishes
from edge.batch.destination import Destination
from edge.batch.entries import Entry, Portion, chunks, portion_for
from edge.batch.intake import Intake
from edge.batch.job import Checkpoint, Job, Record, Step, next_step
from edge.batch.journal import Journal
from edge.batch.progress import Pace, duration
from edge.batch.truth import verdict
from edge.loading import read_bundle, release_name
from edge.runtime import LoadedModel, Runtime
from wire.bundle import Bundle
from wire.errors import EdgeflockError, ModelError, SettingsError, UnavailableError

#: Chunks under way for each worker: one in work, one ready, one that waits to be written.
_CHUNKS_A_WORKER: Final = 3
#: A model that is faster spends its time in Python, where a second worker only takes it from the first:
#: 45,000 rows/s with one and 23,000 with two were measured on two cores for a model of 2 us.
_SMALL_S: Final = 100e-6
#: What a row costs besides its numbers.
_ROW_BYTES: Final = 200
#: What a shell adds to the number of the signal that ended a process.
_SIGNALLED: Final = 128


@dataclass(frozen=True)
class Order:
    """What was asked for. `jobs` 0: a worker for each core; `batch` 0: one row after the other."""

    model: Path
    inputs: tuple[Path, ...]
    out: Destination
    columns: tuple[str, ...] = ()
    truth: str = ""
    outputs: bool = False
    batch: int = 0
    jobs: int = 0
    backend: str = "auto"
    checkpoint_s: float = 5.0
    resume: bool = False
    overwrite: bool = False


def run(order: Order) -> int:
    """Answer all inputs; return the exit code: 0, 1 when some were bad, 128 and the signal that ended it."""
    if order.out.path.is_dir() or not order.out.path.parent.is_dir():
        raise SettingsError(f"--out {order.out.path}: that is a folder, or its folder is not there")
    bundle = read_bundle(order.model)
    seen = survey(_sources(order))
    if not seen.files:
        raise SettingsError("nothing to answer: the inputs hold no image, WAV, npz, npy, CSV or Parquet file")
    job = _job(order, bundle, seen)
    # A batch is one call for one interpreter, and threads inside it only when they were asked for: with
    # two of them 32 rows of a CNN took three times as long on two busy cores.
    pool, threads = (1, max(1, order.jobs)) if order.batch else (order.jobs or usable_cores(), 1)
    with open_bundle(order.model, backend=order.backend, pool=pool, threads=threads) as runtime:
        task = _Task(order, bundle, runtime)
        try:
            with task.output.owner(), interruption() as stop:
                try:
                    ended = task.run(job, stop)
                finally:
                    task.output.close()
                    leave_unused(order.out.folder)
        except OSError as error:
            where = error.filename or order.out.path
            raise UnavailableError(f"{where}: {error.strerror or error}; go on with --resume") from error
    return ended if isinstance(ended, int) else task.report(ended)


@dataclass(frozen=True)
class Finished:
    """A job that is done, and in words since when."""

    checkpoint: Checkpoint
    state: str


class _Task:
    """One run of a job, perhaps not its first."""

    def __init__(self, order: Order, bundle: Bundle, runtime: Runtime) -> None:
        model = runtime.model
        assert model is not None, "just loaded"
        if model.stateful:
            raise ModelError(f"{model.release} keeps state from one input to the next: use `edgeflock run`")
        self._order = order
        self._form = Form(
            bundle.manifest, bundle.labels, model.outputs, Wishes(order.outputs, bool(order.truth))
        )
        self._form.check_truth()
        self._intake = Intake(model.inputs, bundle.manifest.preprocessing, order.columns, order.truth)
        self._answerer = Answerer(runtime, self._intake, self._form, order.batch)
        latency_s = _latency_s(runtime)
        self._portion = _portion(order, model, latency_s)
        small = latency_s < _SMALL_S and bundle.manifest.preprocessing.kind == "none" and not order.jobs
        self._workers = 1 if small else model.pool
        kind = SqliteOutput if order.out.kind == "sqlite" else FileOutput
        self.output: Output = kind(order.out, self._form.columns)

    def run(self, job: Job, stop: Interruption) -> Finished | int:
        """Begin or go on; return what there is to report, or the exit code when a signal ended it."""
        order, found = self._order, self.output.find()
        step = next_step(found, job, order.out.shown, resume=order.resume, overwrite=order.overwrite)
        before = found.record if found.record and step is not Step.BEGIN else Record(job)
        if step is Step.DONE:
            self.output.discard()
            return Finished(before.checkpoint, "is finished already")
        self.output.begin(before, anew=step is Step.BEGIN)
        told = ""
        if not before.checkpoint.done:
            journal = Journal(self.output, before, order.checkpoint_s, time.monotonic)
            journal.commit()
            told = self._answer(journal, stop)
            if stop.signal:
                _say(f"stopped at {told}: go on with --resume")
                return _SIGNALLED + stop.signal
            before = journal.record
        self.output.finish(before)
        if told:
            _say(told)
        if survey(_sources(order)).digest != job.inputs:
            _say("the inputs changed while they were read: what came or went meanwhile may lack an answer")
        return Finished(before.checkpoint, "is finished")

    def _answer(self, journal: Journal, stop: Interruption) -> str:
        """Answer what is left, or until a signal comes; return in words how far and how fast that went."""
        before = journal.record.checkpoint
        total = journal.record.job.size_bytes
        if before.rows or before.bad:
            _say(f"going on at {before.read_bytes / max(1, total):.0%}: {before.rows:,} rows are there")
        pace = Pace(total, time.monotonic(), before.rows, before.read_bytes)
        line = ProgressLine(sys.stderr)
        entries = read_entries(_sources(self._order), self._intake, before.position)
        try:
            with closing(entries):
                for answered in self._answered(entries, stop):
                    journal.add(answered)
                    line.update(lambda: _progress(pace, journal.record.checkpoint, bar=line.on_terminal))
        except EdgeflockError:  # not OSError: what cannot be written now cannot be committed either
            journal.commit()
            raise
        finally:
            line.clear()
        journal.commit(done=not stop.signal)
        now = journal.record.checkpoint
        if stop.signal:
            return _progress(pace, now, bar=False).strip()
        took_s = time.monotonic() - pace.start_s
        rate = pace.rate(time.monotonic(), now.rows)
        return f"{now.rows - before.rows:,} rows in {duration(took_s)}, {rate:,.0f} rows/s"

    def _answered(self, entries: Iterable[Entry], stop: Interruption) -> Iterator[Answered]:
        """Yield the chunks' answers in order, until all are there or a signal came."""
        under_way: deque[Future[Answered]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="batch") as pool:
            try:
                for chunk in chunks(entries, self._portion):
                    if stop.signal:
                        break
                    under_way.append(pool.submit(self._answerer.answer, chunk))
                    if len(under_way) >= self._workers * _CHUNKS_A_WORKER:
                        yield under_way.popleft().result()
                while under_way and (not stop.signal or under_way[0].done()):
                    yield under_way.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def report(self, finished: Finished) -> int:
        """Say how it ended; return the exit code. An OSError is of standard output."""
        out, now, state = self._order.out, finished.checkpoint, finished.state
        good = verdict(now.score, values=self._form.values)
        try:
            print(f"{out.shown} {state}: {now.rows:,} rows" + (f", {good}" if good else ""), flush=True)
        except OSError as error:
            error.filename = "standard output"
            raise
        if not now.bad:
            return 0
        noun = "input has" if now.bad == 1 else "inputs have"
        _say(f"{now.bad:,} {noun} no answer: {out.errors} lists them")
        return 1


def _sources(order: Order) -> Iterator[Source]:
    return list_sources(order.inputs, order.out.all_paths)


def _job(order: Order, bundle: Bundle, seen: Survey) -> Job:
    options = {
        "columns": ",".join(order.columns),
        "truth": order.truth,
        "outputs": "yes" if order.outputs else "",
        "batch-size": str(order.batch or ""),
    }
    given = {name: value for name, value in options.items() if value}
    model = hashlib.sha256(order.model.read_bytes()).hexdigest()
    return Job(model, release_name(bundle), seen.digest, seen.files, seen.size_bytes, given)


def _latency_s(runtime: Runtime) -> float:
    """Return how long one answer takes, after a try on zeros."""
    model = runtime.model
    assert model is not None, "just loaded"
    zeros = [np.zeros(tensor.shape, tensor.dtype) for tensor in model.inputs]
    return runtime.predict(zeros[0] if len(zeros) == 1 else zeros).latency_s


def _portion(order: Order, model: LoadedModel, latency_s: float) -> Portion:
    """Return how much a worker takes at a time."""
    if order.batch:
        return Portion(order.batch, exact=True)
    given = sum(tensor.dtype.itemsize * math.prod(tensor.shape) for tensor in model.inputs)
    told = sum(32 * math.prod(tensor.shape) for tensor in model.outputs) if order.outputs else 0
    return portion_for(given + told + _ROW_BYTES, latency_s)


def _progress(pace: Pace, now: Checkpoint, *, bar: bool) -> str:
    return pace.line(time.monotonic(), now.rows, now.read_bytes, now.bad, bar=bar)


def _say(text: str) -> None:
    if sys.stderr is not None:  # print would take standard output for a closed one
        with suppress(OSError):
            print(f"edgeflock: {text}", file=sys.stderr)
