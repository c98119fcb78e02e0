"""What runs one model for `edge.adapters.worker_process`, in the process that `worker_start` began.

The model is loaded, described and given its memory; after that each byte on the socket is a run. The
end of the socket is the end of the process.
"""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edge.adapters.shared_tensors import (
    DONE,
    FAILED,
    LOADED,
    RUN,
    VALUES,
    describe,
    map_tensors,
    pack_values,
    receive_body,
    send_frame,
    unpack_values,
)
from edge.adapters.tflite import make_loader
from edge.backend import INTERPRETER_ERRORS, Array, Interpreter
from wire.deadline import Deadline
from wire.errors import EdgeflockError, ModelError

_BODY_TIMEOUT_S: Final = 60.0


def prepare(backend: str, threads: int, batch: int, *, channel_fd: int, model_fd: int) -> Callable[[], int]:
    """Load the model and tell the runtime of it; return what serves it, which returns the exit code."""
    channel = socket.socket(fileno=channel_fd)
    try:
        # Not by its name: a file renamed into its place is another model.
        interpreter = load(backend, threads, batch, Path(f"/proc/self/fd/{model_fd}"))
        send_frame(channel, LOADED, describe(interpreter))
    except EdgeflockError as error:
        send_frame(channel, FAILED, _failure(error))
        code = error.exit_code
        return lambda: code
    return lambda: _serve_to_the_end(channel, interpreter)


def _serve_to_the_end(channel: socket.socket, interpreter: Interpreter) -> int:
    _, (memory, *_), _, _ = socket.recv_fds(channel, 1, 1)
    views = map_tensors(memory, (*interpreter.inputs, *interpreter.outputs))
    os.close(memory)
    gc.disable()  # a run leaves no cycles, and its time is somebody's latency
    try:
        serve(channel, _make_run(interpreter, views), interpreter)
    except INTERPRETER_ERRORS as error:  # found before the first answer: it cannot run here
        send_frame(channel, FAILED, _failure(_translated(error)))
    os._exit(0)  # taking the interpreter apart is the kernel's, who is faster at it


def load(backend: str, threads: int, batch: int, path: Path) -> Interpreter:
    """Load the model; `batch` is 0 for the file's own."""
    interpreter = make_loader(backend, threads=threads)(path)
    if not batch:
        return interpreter
    resized: Interpreter = _offered(interpreter, "resized")(batch)
    return resized


def serve(channel: socket.socket, run: Callable[[], bytes | None], interpreter: Interpreter) -> None:
    """Answer each request until there are no more."""
    while request := channel.recv(1):
        try:
            if request == RUN:
                moved = run()
                if moved is None:
                    channel.send(DONE)
                else:
                    send_frame(channel, VALUES, moved)
            else:
                send_frame(channel, VALUES, _call(channel, interpreter))
        except EdgeflockError as error:
            send_frame(channel, FAILED, _failure(error))
        except INTERPRETER_ERRORS as error:
            send_frame(channel, FAILED, _failure(_translated(error)))


def _make_run(interpreter: Interpreter, views: list[Array]) -> Callable[[], bytes | None]:
    """Return what a RUN does; it returns a body of values if they do not fit into their memory."""
    count = len(interpreter.inputs)
    inputs = [(interpreter.input_view(i), view) for i, view in enumerate(views[:count])]
    outputs = [(interpreter.reader(i), view) for i, view in enumerate(views[count:])]
    invoke = interpreter.invoke

    def run() -> bytes | None:
        for own, shared in inputs:
            own[...] = shared
        invoke()
        answers = [(read(), shared) for read, shared in outputs]
        if any(answer.shape != shared.shape for answer, shared in answers):
            return pack_values({str(i): answer for i, (answer, _) in enumerate(answers)})
        for answer, shared in answers:
            shared[...] = answer
        return None

    return run


def _call(channel: socket.socket, interpreter: Interpreter) -> bytes:
    """Run another signature on the values of a frame; return the body of the answer."""
    signature, values = unpack_values(receive_body(channel, Deadline.after(_BODY_TIMEOUT_S)))
    return pack_values(_offered(interpreter, "call")(signature, values))


def _offered(interpreter: Interpreter, name: str) -> Callable[..., Any]:
    """Return a method of edge.backend.Resizable; raise ModelError where it is not offered."""
    method: Callable[..., Any] | None = getattr(interpreter, name, None)
    if method is None:
        raise ModelError(f"{interpreter.facts.backend} offers no {name!r}")
    return method


def _translated(error: BaseException) -> ModelError:
    return ModelError(f"the model failed while running: {' '.join(str(error).split())[:300]}")


def _failure(error: EdgeflockError) -> bytes:
    return json.dumps({"kind": type(error).__name__, "text": str(error)}).encode()
