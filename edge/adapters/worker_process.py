"""`isolation = process`: a model in a process of its own, behind the same port as any interpreter.

Rules:
- nothing that a model does hurts this process: a crash, a hang or a wrong word ends the worker and is
  a ModelError; the next call starts another worker, on the same file, with the same memory;
- after three such ends in a row it stays down for a second, then for two, four, up to a minute: a model
  that crashes does so again, and a board that was out of memory may have some then;
- a call that is broken off (a signal, Ctrl-C) ends the worker too: its answer would be taken for the
  next call's;
- loading, which holds the GIL for as long as it takes, is done over there;
- a worker never outlives us, however we end: see `worker_start`.

A wait for the worker leaves the GIL to others. One thread at a time, as with every interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.adapters.shared_tensors import (
    CALL,
    DONE,
    FAILED,
    LOADED,
    MEMORY,
    RUN,
    VALUES,
    Description,
    NonsenseError,
    create_memory,
    limit_waits,
    map_tensors,
    memory_bytes,
    pack_values,
    read_description,
    receive_body,
    send_frame,
    shareable,
    unpack_values,
)
from edge.adapters.spawning import Child, spawn
from edge.backend import Array, Loader
from edge.tensors import as_array
from wire import errors
from wire.adapters.processes import python_environment
from wire.deadline import Deadline
from wire.errors import EdgeflockError, InputError, ModelError, UnavailableError

log = logging.getLogger(__name__)

_SCRIPT: Final = str(Path(__file__).with_name("worker_start.py"))
_NO_OTHER_THREADS: Final = {"OPENBLAS_NUM_THREADS": "1"}  # numpy would start one for each core
_LOAD_TIMEOUT_S: Final = 120.0  # a Pi Zero reads Python, numpy and the interpreter from a slow card
_GRACE_S: Final = 1.0
_CRASHES_IN_A_ROW: Final = 3
_LONGEST_DOWN_S: Final = 60.0
_LOWEST_PRIORITY: Final = 19
_OVERDUE: Final = (TimeoutError, BlockingIOError)
_BROKEN: Final = (OSError, EOFError, NonsenseError)


@dataclass(frozen=True)
class Workplace:
    """What a worker is started with; `model_fd` is the model's file, kept open for the next worker."""

    path: Path
    model_fd: int
    backend: str
    threads: int
    timeout_s: float
    batch: int = 0  # the file's own


class Worker:
    """One process that has, or will have, the model loaded."""

    def __init__(self, child: Child, channel: socket.socket, lifeline: int) -> None:
        self._child = child
        self._lifeline = lifeline
        self.channel = channel

    @property
    def pid(self) -> int:
        return self._child.pid

    def loaded(self, place: Workplace) -> Description:
        """Wait until the model is loaded; raise what the worker says of it, or OSError, EOFError …"""
        deadline = Deadline.after(_LOAD_TIMEOUT_S)
        limit_waits(self.channel, _LOAD_TIMEOUT_S)
        return read_description(self.body(LOADED, self.channel.recv(1), deadline, place))

    def body(self, wanted: bytes, kind: bytes, deadline: Deadline, place: Workplace) -> bytes:
        """Return the body of a frame of the kind that is wanted; raise the error that came in its place."""
        if not kind:
            raise EOFError
        if kind not in (wanted, FAILED):
            raise NonsenseError(f"said {kind!r}")
        body = receive_body(self.channel, deadline)
        if kind == FAILED:
            raise _failure(body, place)
        return body

    def share(self, memory: int, timeout_s: float) -> None:
        """Hand over the memory; from now on a wait lasts at most `timeout_s`."""
        limit_waits(self.channel, timeout_s)
        socket.send_fds(self.channel, [MEMORY], [memory])

    def end(self) -> str:
        """End the process, if it has not ended itself; return how it ended."""
        self.channel.close()
        os.close(self._lifeline)
        self._child.kill()
        return _ending(self._child.wait())

    def retire(self) -> None:
        """End the process without haste: to take it apart is 7 ms of work, which the next model may need."""
        with contextlib.suppress(OSError):
            os.sched_setscheduler(self.pid, os.SCHED_BATCH, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, self.pid, _LOWEST_PRIORITY)
        self.end()

    def cause(self, error: BaseException, timeout_s: float) -> str:
        """End the process and return why it is of no more use."""
        if isinstance(error, _OVERDUE):
            self.end()
            return f"gave no answer in {timeout_s:g} s"
        if isinstance(error, NonsenseError):
            self.end()
            return str(error)
        if self._child.wait_at_most(_GRACE_S) is None:  # dying by itself, it keeps its own signal
            log.warning("process %d closed its socket and went on", self._child.pid)
        return self.end()


def start_worker(place: Workplace) -> Worker:
    """Start a process and return without waiting for it; raise UnavailableError when none can be."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        try:
            channel, its_channel = socket.socketpair()
            ours.callback(channel.close)
            theirs.callback(its_channel.close)
            its_lifeline, lifeline = os.pipe()
            ours.callback(os.close, lifeline)
            theirs.callback(os.close, its_lifeline)
            descriptors = (its_channel.fileno(), its_lifeline, place.model_fd)
            arguments = [place.backend, *map(str, (place.threads, place.batch, *descriptors))]
            command = [sys.executable, "-P", _SCRIPT, *arguments]
            child = spawn(command, python_environment() | _NO_OTHER_THREADS, descriptors)
        except OSError as error:
            raise UnavailableError(f"no process can be started for the model: {error.strerror}") from error
        ours.pop_all()
    return Worker(child, channel, lifeline)


class ProcessInterpreter:
    """An interpreter whose model runs elsewhere. `make_process_loader` makes them."""

    def __init__(
        self, place: Workplace, worker: Worker, model: Description, memory: int, views: list[Array]
    ) -> None:
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.facts = model.facts
        self._model = model
        self._place = place
        self._memory = memory
        self._views = views
        self._worker: Worker | None = worker
        self._moved: list[Array] | None = None
        self._crashes: list[str] = []
        self._down_until_s = 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is none."""
        return self._worker.pid if self._worker else None

    def input_view(self, position: int) -> Array:
        return self._views[position]

    @property
    def invoke(self) -> Callable[[], None]:
        return self._run

    def reader(self, position: int) -> Callable[[], Array]:
        view = self._views[len(self.inputs) + position]

        def read() -> Array:
            return view.copy() if self._moved is None else self._moved[position].copy()

        return read

    def resized(self, batch: int) -> ProcessInterpreter:
        """Return the same file in another process with `batch` rows; raise ModelError if it cannot."""
        place = self._place
        return _open(replace(place, model_fd=os.dup(place.model_fd), batch=batch))

    def call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Run another signature; values by its names, real in and out."""
        if strange := [name for name in inputs if not isinstance(name, str)]:
            raise InputError(f"signature {signature!r} takes its inputs by name, not by {strange[0]!r}")
        values = {name: as_array(value, name) for name, value in inputs.items()}
        if unknown := [name for name, value in values.items() if not shareable(value.dtype)]:
            raise InputError(
                f"input {unknown[0]!r} is of {values[unknown[0]].dtype}, which no model takes here"
            )
        with self._talk() as worker:
            send_frame(worker.channel, CALL, pack_values(values, signature))
            return self._take(worker, worker.channel.recv(1))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._views = []
        self._moved = None
        if self._worker is not None:
            self._worker.retire()
            self._worker = None
        os.close(self._memory)
        os.close(self._place.model_fd)
        _release_memory()

    def __del__(self) -> None:  # a load that failed half-way must not leave its process behind
        self.close()

    def _run(self) -> None:
        with self._talk() as worker:
            worker.channel.send(RUN)
            kind = worker.channel.recv(1)
            self._moved = None if kind == DONE else self._moved_outputs(self._take(worker, kind))

    @contextlib.contextmanager
    def _talk(self) -> Iterator[Worker]:
        """Lend the worker for one question, and end it if the answer does not come whole."""
        worker = self._worker or self._restart()
        try:
            yield worker
        except _BROKEN as error:
            raise self._crashed(worker, error) from error
        except EdgeflockError:  # the interpreter's own word: it is alive
            raise
        except BaseException:  # broken off
            self._worker = None
            worker.end()
            raise
        self._crashes.clear()

    def _take(self, worker: Worker, kind: bytes) -> dict[str, Array]:
        """Read an answer that is more than a byte."""
        deadline = Deadline.after(self._place.timeout_s)
        return unpack_values(worker.body(VALUES, kind, deadline, self._place))[1]

    def _moved_outputs(self, values: Mapping[str, Array]) -> list[Array]:
        arrays = list(values.values())
        if [array.dtype for array in arrays] != [tensor.dtype for tensor in self.outputs]:
            raise NonsenseError("answered with other tensors than it told of")
        return arrays

    def _restart(self) -> Worker:
        if self._closed:
            raise ModelError("the model is closed")
        if time.monotonic() < self._down_until_s:
            raise ModelError(
                f"the model's process ended {len(self._crashes)} times in a row and stays down for a while; "
                f"the last one {self._crashes[-1]}"
            )
        try:
            worker = start_worker(self._place)
        except UnavailableError as error:
            raise ModelError(str(error)) from error
        try:
            if worker.loaded(self._place).tensors != self._model.tensors:
                raise NonsenseError("loaded another model than before")
            worker.share(self._memory, self._place.timeout_s)
        except _BROKEN as error:
            raise self._crashed(worker, error) from error
        except EdgeflockError as error:
            worker.end()
            self._ended(f"could not load: {error}")
            raise ModelError(str(error)) from error
        except BaseException:
            worker.end()
            raise
        log.warning("the model runs in a new process, %d", worker.pid)
        self._worker = worker
        return worker

    def _ended(self, cause: str) -> None:
        self._crashes.append(cause)
        more = len(self._crashes) - _CRASHES_IN_A_ROW
        if more >= 0:
            self._down_until_s = time.monotonic() + min(_LONGEST_DOWN_S, 2.0 ** min(more, 10))

    def _crashed(self, worker: Worker, error: BaseException) -> ModelError:
        self._worker = None
        cause = worker.cause(error, self._place.timeout_s)
        self._ended(cause)
        log.warning("the model's process %d %s", worker.pid, cause)
        return ModelError(f"the model's process {cause}")


def make_process_loader(backend: str = "auto", *, threads: int = 1, timeout_s: float = 10.0) -> Loader:
    """Return a function that loads model files, each into a process of its own.

    `timeout_s` is the longest a single run may take. The loader raises ModelError for a model that
    cannot run, SettingsError or UnavailableError for a backend that is not to be had.
    """

    def load(path: Path) -> ProcessInterpreter:
        try:
            model_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error
        return _open(Workplace(path, model_fd, backend, threads, timeout_s))

    return load


def _open(place: Workplace) -> ProcessInterpreter:
    """Start the first worker and give it its memory; the descriptor in `place` is closed in the end."""
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, place.model_fd)
        worker = start_worker(place)
        try:
            model = worker.loaded(place)
            memory = create_memory(memory_bytes(model.tensors))
            undo.callback(os.close, memory)
            worker.share(memory, place.timeout_s)
            views = map_tensors(memory, model.tensors)
        except _BROKEN as error:
            cause = worker.cause(error, _LOAD_TIMEOUT_S)
            raise ModelError(f"{place.path} cannot be loaded: its process {cause}") from error
        except BaseException:
            worker.end()
            raise
        undo.pop_all()
    return ProcessInterpreter(place, worker, model, memory, views)


def _release_memory() -> None:
    """Give back what reading the bundle took here: 28 MB of a MobileNetV2 that is served elsewhere."""
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


def _failure(body: bytes, place: Workplace) -> Exception:
    """Return the error that a worker reports, with the file's name where it knows a descriptor."""
    try:
        told = json.loads(body)
        kind, text = getattr(errors, told["kind"]), " ".join(told["text"].split())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return NonsenseError(f"reported an error that cannot be read: {error}")
    if not (isinstance(kind, type) and issubclass(kind, EdgeflockError)):
        return NonsenseError(f"reported a {kind}")
    return kind(text.replace(f"/proc/self/fd/{place.model_fd}", str(place.path)))


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    if code == -signal.SIGKILL:
        return "was ended by SIGKILL, as the kernel does when memory runs out"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"
