"""What a runtime shares with the process that runs its model: tensors in memory, and the words between.

- The memory is anonymous, made by the runtime and sealed at its size: were it shrunk by the other
  process, the next touch would end ours with SIGBUS.
- Each tensor starts at a multiple of 64 bytes, as the kernels like their rows.
- One byte asks for a run, one byte says that it is done. All else is a frame: kind, length, body.
- What the worker says is checked like anything from outside: a model may have taken it over.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from edge.backend import Array, Facts, Interpreter, Tensor
from wire.deadline import Deadline
from wire.errors import ModelError

#: From the runtime: here is the memory (its descriptor comes along).
MEMORY: Final = b"m"
#: Run on what the inputs hold; (frame) run another signature, on values that come along.
RUN: Final = b"r"
CALL: Final = b"c"
#: From the worker: the outputs are in the memory; (frames) a description; an error; values.
DONE: Final = b"."
LOADED: Final = b"l"
FAILED: Final = b"f"
VALUES: Final = b"v"

_ALIGNMENT: Final = 64
_LARGEST_MEMORY: Final = 1 << 30
_LARGEST_FRAME: Final = 1 << 28
_LENGTH: Final = struct.Struct("<I")
_RCVTIMEO_OF_LONGS: Final = 20
#: What processes can share, by the name under which it travels: no strings, no objects.
_DTYPES: Final = {np.dtype(code).str: np.dtype(code) for code in "?bBhHiIqQefdFD"}
#: What comes of reading words that were not meant for it.
_MISREAD: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class NonsenseError(Exception):
    """The other side broke the rules above."""


@dataclass(frozen=True)
class Description:
    """A loaded model as its worker tells of it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    facts: Facts

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that lies in the memory, in its order."""
        return (*self.inputs, *self.outputs)


def describe(interpreter: Interpreter) -> bytes:
    """Return what a worker tells of its model; raise ModelError for tensors that cannot be shared."""
    for tensor in (*interpreter.inputs, *interpreter.outputs):
        if not shareable(tensor.dtype):
            raise ModelError(
                f"tensor {tensor.name!r} is of {tensor.dtype}, which processes cannot share: "
                "use isolation = thread"
            )
    told = {
        "inputs": [asdict(tensor) for tensor in interpreter.inputs],
        "outputs": [asdict(tensor) for tensor in interpreter.outputs],
        "facts": asdict(interpreter.facts),
    }
    return json.dumps(told, default=_plain).encode()


def read_description(body: bytes) -> Description:
    """Read what a worker tells of its model; raise NonsenseError for what cannot be."""
    try:
        told = json.loads(body)
        inputs, outputs = (tuple(_tensor(one) for one in told[side]) for side in ("inputs", "outputs"))
        return Description(inputs, outputs, _facts(told["facts"]))
    except _MISREAD as error:
        raise NonsenseError(f"told of its model what cannot be read: {error}") from error


def shareable(dtype: np.dtype[Any]) -> bool:
    """Return whether values of `dtype` can be in the memory of two processes: numbers can, strings cannot."""
    return dtype.str in _DTYPES


def memory_bytes(tensors: Sequence[Tensor]) -> int:
    """Return the size of a memory for `tensors`; raise ModelError beyond a GiB."""
    *_, end = _offsets(tensors)
    if end > _LARGEST_MEMORY:
        raise ModelError(f"the model's inputs and outputs take {end >> 20} MiB: use isolation = thread")
    return max(end, 1)


def create_memory(size_bytes: int) -> int:
    """Return the descriptor of new memory that nobody can shrink or grow."""
    descriptor = os.memfd_create("edgeflock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def map_tensors(descriptor: int, tensors: Sequence[Tensor]) -> list[Array]:
    """Return views of the memory, one for each of `tensors`; it stays mapped while one of them lives."""
    memory = mmap.mmap(descriptor, memory_bytes(tensors), flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    return [
        np.ndarray(tensor.shape, tensor.dtype, buffer=memory, offset=offset)
        for tensor, offset in zip(tensors, _offsets(tensors), strict=False)
    ]


def pack_values(values: Mapping[str, Array], title: str = "") -> bytes:
    """Return a body of values by name, for what has no place in the memory; `title` travels with them."""
    tensors = [[name, array.dtype.str, array.shape] for name, array in values.items()]
    head = json.dumps([title, tensors]).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *(array.tobytes() for array in values.values())])


def unpack_values(body: bytes) -> tuple[str, dict[str, Array]]:
    """Return the title and the values of a body; raise NonsenseError for what is none."""
    try:
        (length,) = _LENGTH.unpack_from(body)
        title, tensors = json.loads(body[_LENGTH.size : _LENGTH.size + length])
        at, values = _LENGTH.size + length, dict[str, Array]()
        for name, kind, shape in tensors:
            values[name] = np.ndarray(_shape(shape), _DTYPES[kind], buffer=body, offset=at)
            at += values[name].nbytes
    except (*_MISREAD, struct.error) as error:
        raise NonsenseError(f"sent values that cannot be read: {error}") from error
    return title, values


def limit_waits(channel: socket.socket, timeout_s: float) -> None:
    """Let a wait on `channel`, to read or to write, end with BlockingIOError after `timeout_s`.

    By the kernel: Python's own time-out polls before it reads, 10 us of 40 here.
    """
    # Where the constant is the newer one, a 32-bit C library counts in 64-bit seconds.
    layout = "@ll" if socket.SO_RCVTIMEO == _RCVTIMEO_OF_LONGS else "=qq"
    whole_s = int(timeout_s)
    limit = struct.pack(layout, whole_s, max(1, int((timeout_s - whole_s) * 1e6)))
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def send_frame(channel: socket.socket, kind: bytes, body: bytes) -> None:
    """Send one frame; raise OSError when the other side is gone."""
    channel.sendall(kind + _LENGTH.pack(len(body)))
    channel.sendall(body)


def receive_body(channel: socket.socket, deadline: Deadline) -> bytes:
    """Return the body of a frame whose kind has been read; raise EOFError, OSError or NonsenseError."""
    (length,) = _LENGTH.unpack(_receive(channel, _LENGTH.size, deadline))
    if length > _LARGEST_FRAME:
        raise NonsenseError(f"answered with {length >> 20} MiB")
    return _receive(channel, length, deadline)


def _receive(channel: socket.socket, length: int, deadline: Deadline) -> bytes:
    body = bytearray()
    while len(body) < length:
        if deadline.passed:  # a byte now and then does not count as an answer
            raise TimeoutError
        chunk = channel.recv(min(length - len(body), 1 << 20))
        if not chunk:
            raise EOFError
        body += chunk
    return bytes(body)


def _offsets(tensors: Sequence[Tensor]) -> list[int]:
    """Return where each tensor starts, and where the last one ends."""
    offsets, end = [], 0
    for tensor in tensors:
        offsets.append(end)
        size_bytes = math.prod(tensor.shape) * tensor.dtype.itemsize
        end += -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
    return [*offsets, end]


def _tensor(told: dict[str, Any]) -> Tensor:
    return Tensor(
        index=_number(told["index"]),
        name=_text(told["name"]),
        dtype=_DTYPES[told["dtype"]],
        shape=_shape(told["shape"]),
        scale=float(told["scale"]),
        zero_point=_number(told["zero_point"]),
        alias=_text(told["alias"]),
    )


def _facts(told: dict[str, Any]) -> Facts:
    return Facts(
        backend=_text(told["backend"]),
        operators=_number(told["operators"]),
        delegated=_number(told["delegated"]),
        allocate_ms=float(told["allocate_ms"]),
        stateful=bool(told["stateful"]),
        signatures=tuple(_text(name) for name in told["signatures"]),
    )


def _number(told: Any) -> int:
    if not isinstance(told, int):
        raise TypeError(f"{told!r} where a number belongs")
    return told


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise TypeError(f"{told!r} where a text belongs")
    return told


def _shape(told: list[Any]) -> tuple[int, ...]:
    if not all(isinstance(n, int) and 0 <= n <= _LARGEST_MEMORY for n in told):
        raise ValueError(f"a tensor of shape {told}")
    return tuple(told)


def _plain(value: Any) -> Any:
    if isinstance(value, np.dtype):
        return value.str
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a description")
