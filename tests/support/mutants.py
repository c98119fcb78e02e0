"""Model files gone bad, one after the other, from a seed: what a disk, a network or an enemy makes of them.

Kinds that damage bytes need no knowledge of the format; those that end in `!` take the file apart,
put an absurd value into one field and put it together again, so that any verifier accepts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from wire.bundle import Bundle, pack, unpack

_ABSURD_32: Final = (0, 1, 2, 255, 65_535, 1_000_000, 2**31 - 1, 2**31, 2**32 - 1)
_ABSURD: Final = (0, 1, 2, -1, 7, 255, 65_535, 1_000_000, 2**31 - 1, -(2**31))
_RANGES: Final = (1, 16, 256, 4096)
#: One mutant in so many is not sealed: its digest is the first model's.
_UNSEALED_EVERY: Final = 5


@dataclass(frozen=True)
class Mutant:
    """A bundle that went bad, and how."""

    kind: str
    data: bytes


def mutants(bundles: list[bytes], seed: int) -> Iterator[Mutant]:
    """Yield mutants of the bundles in turn, for ever.

    Most are sealed anew: manifest and digest are right, so that only what looks into the model itself
    can find out. The others are what a digest is for.
    """
    rng = Random(seed)
    wholes = [unpack(data) for data in bundles]
    number = 0
    while True:
        number += 1
        source = number % len(bundles)
        if number % _UNSEALED_EVERY == 0:
            kind = rng.choice(list(_BYTES))
            yield Mutant(f"unsealed {kind}", _BYTES[kind](bytearray(bundles[source]), rng))
            continue
        whole = wholes[source]
        made = _structured(whole.tflite, rng) if number % 2 else _damaged(whole.tflite, rng)
        if made is not None and made[1] != whole.tflite:
            yield Mutant(made[0], sealed(whole, made[1]))


def sealed(bundle: Bundle, tflite: bytes) -> bytes:
    """Return the bundle with another model in it and a manifest that vouches for it."""
    digest = hashlib.sha256(tflite).hexdigest()
    manifest = replace(bundle.manifest, tflite_sha256=digest, tflite_bytes=len(tflite))
    return pack(replace(bundle, manifest=manifest, tflite=tflite))


def _damaged(tflite: bytes, rng: Random) -> tuple[str, bytes]:
    kind = rng.choice(list(_BYTES))
    return kind, _BYTES[kind](bytearray(tflite), rng)


def _truncate(data: bytearray, rng: Random) -> bytes:
    return bytes(data[: rng.randrange(8, len(data))])


def _flip(data: bytearray, rng: Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 64))):
        data[rng.randrange(8, len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _zero(data: bytearray, rng: Random) -> bytes:
    start, count = _range(data, rng)
    data[start : start + count] = bytes(count)
    return bytes(data)


def _randomize(data: bytearray, rng: Random) -> bytes:
    start, count = _range(data, rng)
    data[start : start + count] = rng.randbytes(count)
    return bytes(data)


def _insert(data: bytearray, rng: Random) -> bytes:
    start = rng.randrange(8, len(data))
    data[start:start] = rng.randbytes(rng.choice(_RANGES))
    return bytes(data)


def _remove(data: bytearray, rng: Random) -> bytes:
    start, count = _range(data, rng)
    del data[start : start + count]
    return bytes(data)


def _overwrite(data: bytearray, rng: Random) -> bytes:
    """Put absurd numbers where offsets and counts are likely: the graph is at the end, the root in front."""
    low, high = (len(data) * 3 // 4, len(data) - 4) if rng.random() < 0.7 else (8, min(2048, len(data) - 4))
    for _ in range(rng.choice((1, 3))):
        at = rng.randrange(low, high) & ~3
        value = rng.choice((*_ABSURD_32, rng.getrandbits(32), rng.getrandbits(10)))
        data[at : at + 4] = value.to_bytes(4, "little")
    return bytes(data)


def _range(data: bytearray, rng: Random) -> tuple[int, int]:
    start = rng.randrange(8, len(data))
    return start, min(len(data) - start, rng.choice(_RANGES))


_BYTES: Final[dict[str, Callable[[bytearray, Random], bytes]]] = {
    "truncated": _truncate,
    "bits flipped": _flip,
    "range zeroed": _zero,
    "range of noise": _randomize,
    "bytes inserted": _insert,
    "bytes removed": _remove,
    "numbers overwritten": _overwrite,
}


def _structured(tflite: bytes, rng: Random) -> tuple[str, bytes] | None:
    """Return the model with one absurd field; None where the field cannot hold it, or is not there."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    kind = rng.choice(list(_FIELDS))
    builder = flatbuffers.Builder(len(tflite) + 1024)
    try:
        _FIELDS[kind](model, rng.choice(model.subgraphs), rng)
        builder.Finish(model.Pack(builder), b"TFL3")
    except (TypeError, ValueError, IndexError, OverflowError, AttributeError):
        return None
    return f"{kind}!", bytes(builder.Output())


def _shape(model: Any, graph: Any, rng: Random) -> None:
    tensor = rng.choice(graph.tensors)
    shape = list(tensor.shape)
    shape[rng.randrange(len(shape))] = rng.choice(_ABSURD)
    tensor.shape = shape


def _rank(model: Any, graph: Any, rng: Random) -> None:
    tensor = rng.choice(graph.tensors)
    tensor.shape = rng.choice(([], [1] * 40, [*tensor.shape, 1], list(tensor.shape)[1:]))


def _type(model: Any, graph: Any, rng: Random) -> None:
    rng.choice(graph.tensors).type = rng.randrange(24)


def _scale(model: Any, graph: Any, rng: Random) -> None:
    quantization = rng.choice(graph.tensors).quantization
    scales = rng.choice(([], [0.0], [float("nan")], [float("inf")], [-1.0], [1e30], [1.0] * 3))
    quantization.scale = np.array(scales, np.float32)
    if rng.random() < 0.3:
        quantization.zeroPoint = np.array([rng.choice((2**40, -(2**40), 1000))], np.int64)


def _buffer_of(model: Any, graph: Any, rng: Random) -> None:
    most = len(model.buffers)
    rng.choice(graph.tensors).buffer = rng.choice((0, most - 1, most, 2**31 - 1, rng.randrange(most)))


def _short_buffer(model: Any, graph: Any, rng: Random) -> None:
    buffer = rng.choice([b for b in model.buffers if b.data is not None and len(b.data) > 4])
    buffer.data = buffer.data[: rng.randrange(len(buffer.data))]


def _absurd_constant(model: Any, graph: Any, rng: Random) -> None:
    """Change a small constant: shapes, axes, paddings and sizes are such."""
    buffer = rng.choice([b for b in model.buffers if b.data is not None and 4 <= len(b.data) <= 64])
    values = np.frombuffer(bytes(buffer.data)[: len(buffer.data) // 4 * 4], np.int32).copy()
    values[rng.randrange(len(values))] = rng.choice(_ABSURD)
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)


def _reads(model: Any, graph: Any, rng: Random) -> None:
    operator = rng.choice(graph.operators)
    operator.inputs = _other(operator.inputs, graph, rng)


def _writes(model: Any, graph: Any, rng: Random) -> None:
    operator = rng.choice(graph.operators)
    operator.outputs = _other(operator.outputs, graph, rng)


def _other(indices: Any, graph: Any, rng: Random) -> list[int]:
    found, count = list(indices), len(graph.tensors)
    if rng.random() < 0.2:
        return rng.choice(([], found[:-1], found * 2, [-1] * len(found)))
    found[rng.randrange(len(found))] = rng.choice((-1, 0, count, 2**31 - 1, -5, rng.randrange(count)))
    return found


def _kind_of(model: Any, graph: Any, rng: Random) -> None:
    most = len(model.operatorCodes)
    rng.choice(graph.operators).opcodeIndex = rng.choice((0, most, 2**31 - 1, rng.randrange(most)))


def _code(model: Any, graph: Any, rng: Random) -> None:
    code = rng.choice(model.operatorCodes)
    code.builtinCode = rng.choice((rng.randrange(210), 400, -1))
    code.deprecatedBuiltinCode = min(max(code.builtinCode, 0), 127)


def _version(model: Any, graph: Any, rng: Random) -> None:
    rng.choice(model.operatorCodes).version = rng.choice((0, -1, 1, 2, 12, 99))


def _options(model: Any, graph: Any, rng: Random) -> None:
    options = rng.choice([o.builtinOptions for o in graph.operators if o.builtinOptions is not None])
    numbers = [name for name, value in vars(options).items() if type(value) is int]
    setattr(options, rng.choice(numbers), rng.choice((0, 1, 2, 5, 100, 127)))


def _other_options(model: Any, graph: Any, rng: Random) -> None:
    """Give an operator the options of another, or none."""
    operator, other = rng.choice(graph.operators), rng.choice(graph.operators)
    operator.builtinOptions, operator.builtinOptionsType = other.builtinOptions, other.builtinOptionsType
    if rng.random() < 0.3:
        operator.builtinOptions, operator.builtinOptionsType = None, 0


def _ends(model: Any, graph: Any, rng: Random) -> None:
    count = len(graph.tensors)
    chosen = [rng.choice((0, -1, count, rng.randrange(count)))]
    if rng.random() < 0.5:
        graph.inputs = chosen
    else:
        graph.outputs = chosen


def _order(model: Any, graph: Any, rng: Random) -> None:
    if rng.random() < 0.5:
        graph.operators.pop(rng.randrange(len(graph.operators)))
    else:
        rng.shuffle(graph.operators)


_FIELDS: Final[dict[str, Callable[[Any, Any, Random], None]]] = {
    "shape": _shape,
    "rank": _rank,
    "type": _type,
    "scale": _scale,
    "buffer": _buffer_of,
    "short buffer": _short_buffer,
    "constant": _absurd_constant,
    "reads": _reads,
    "writes": _writes,
    "kind": _kind_of,
    "code": _code,
    "version": _version,
    "options": _options,
    "other options": _other_options,
    "ends": _ends,
    "order": _order,
}
