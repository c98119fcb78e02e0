"""A bundle from its differences: both directions, in any pieces, and nothing that a liar could gain."""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import tracemalloc
from collections.abc import Iterator

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from tests.support.training import Bundles
from wire.alignment import Form, align
from wire.blob import compress
from wire.buffers import buffers
from wire.bundle import unpack
from wire.delta import MAX_SEGMENTS, apply, encode
from wire.errors import TransferError

HEADER = struct.Struct("<4s32sIII")
SEGMENT = struct.Struct("<III")


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def applied(base: bytes, delta: bytes, size_bytes: int, *, piece: int = 65536) -> bytes:
    digest = hashlib.sha256(base).hexdigest()
    pieces = apply(io.BytesIO(base), cut(delta, piece), base_sha256=digest, size_bytes=size_bytes)
    return b"".join(pieces)


def forged(base: bytes, segments: list[tuple[int, int, int]], body: bytes, size_bytes: int) -> bytes:
    """Return a delta that says whatever it is told to."""
    raw = b"".join(SEGMENT.pack(*s) for s in segments) + body
    digest = hashlib.sha256(base).digest()
    return HEADER.pack(b"EFD1", digest, len(segments), size_bytes, len(raw)) + compress(raw)


def tflite(weights: list[bytes], name: str = "net") -> bytes:
    """Return a file of the format with these buffers; `name` moves where they lie."""
    model = schema.ModelT()
    model.version, model.description, model.buffers = 3, name, []
    for data in weights:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(1, 70))
def test_any_file_comes_back_from_any_other_in_any_pieces(base: bytes, new: bytes, piece: int) -> None:
    assert applied(base, encode(base, new), len(new), piece=piece) == new


@given(st.data(), st.binary(min_size=200, max_size=400))
def test_a_file_comes_back_from_a_relative_of_it(data: st.DataObject, base: bytes) -> None:
    new = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(new)))
        if data.draw(st.booleans()):
            new[at:at] = data.draw(st.binary(max_size=40))
        else:
            del new[at : at + data.draw(st.integers(0, 40))]
    behind = data.draw(st.binary(max_size=40))
    assert applied(base, encode(base, bytes(new) + behind), len(new) + len(behind)) == bytes(new) + behind


@given(
    st.lists(st.integers(0, 300), max_size=6), st.lists(st.integers(0, 300), max_size=6), st.text(max_size=9)
)
def test_a_network_comes_back_from_one_with_other_layers(old: list[int], new: list[int], name: str) -> None:
    random = np.random.default_rng(0)
    base, other = (tflite([random.bytes(size) for size in sizes], name) for sizes in (old, new))
    assert applied(base, encode(base, other), len(other)) == other


def test_buffers_are_found_where_they_lie() -> None:
    weights = [b"a" * 100, b"b" * 7]
    data = tflite(weights)
    assert sorted(data[at : at + size] for at, size in buffers(data)) == weights


@given(st.binary(max_size=200))
def test_a_file_that_is_no_network_has_no_buffers(rest: bytes) -> None:
    assert all(at + size <= len(rest) + 8 for at, size in buffers(b"\x10\0\0\0TFL3" + rest))


def test_weights_that_moved_by_little_cost_little_even_if_the_layout_shifted() -> None:
    random = np.random.default_rng(0)
    weights = [random.integers(-90, 90, size, np.int8) for size in (40_000, 9_000, 40_000)]
    moved = [w + random.integers(-1, 2, len(w), np.int8) for w in weights]
    base = tflite([w.tobytes() for w in weights])
    new = tflite([w.tobytes() for w in moved], name="a longer name, which moves everything behind it")
    delta = encode(base, new)
    assert len(delta) < 0.25 * len(compress(new))
    assert applied(base, delta, len(new)) == new


def test_floats_travel_as_words() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=30_000).astype(np.float32)
    base, new = (tflite([w.tobytes()]) for w in (weights, weights * np.float32(1.00001)))
    assert max(align(base, new, MAX_SEGMENTS), key=lambda s: s.size).form is Form.WORDS
    assert len(encode(base, new)) < 0.5 * len(compress(new))


def test_a_real_retrained_model_comes_back_from_the_one_before(bundles: Bundles) -> None:
    one, two = bundles.one.read_bytes(), bundles.two.read_bytes()
    delta = encode(one, two)
    assert applied(one, delta, len(two), piece=100) == two
    assert len(delta) < 1.01 * len(compress(two))


def test_a_real_model_with_other_golden_outputs_costs_only_these(bundles: Bundles) -> None:
    two, wrong = bundles.two.read_bytes(), bundles.wrong.read_bytes()
    delta = encode(two, wrong)
    assert len(delta) < len(wrong) - len(unpack(wrong).tflite) + 200
    assert applied(two, delta, len(wrong)) == wrong


def test_a_bundle_with_too_many_stretches_falls_back_to_a_few() -> None:
    random = np.random.default_rng(0)
    weights = [random.bytes(64 + 4 * i) for i in range(20)]
    base, new = tflite(weights), tflite(weights[::-1] + weights, "other")
    assert len(align(base, new, 5)) <= 5


# --- what a liar may try ----------------------------------------------------------------------

BASE = bytes(range(256)) * 8


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (b"", "too early"),
        (encode(BASE, BASE)[:40], "too early"),
        (b"????" + encode(BASE, BASE)[4:], "not a delta"),
        (encode(b"another", BASE), "another base"),
        (encode(BASE, BASE + b"1"), "not 2048 bytes"),
        (encode(BASE, BASE)[:-9], "decompresses to"),
        (encode(BASE, BASE)[:48] + b"garbage" * 9, "not decodable"),
        (forged(BASE, [(9, 0, 2048)], b"", 2048), "unknown form"),
        (forged(BASE, [(1, 0, 2000)], b"", 2048), "do not make up"),
        (forged(BASE, [(1, 0, 2048)], b"more", 2048), "goes on behind"),
        (forged(BASE, [(1, 4, 2048)], b"", 2048), "behind the end"),
        (forged(BASE, [(1, 2**32 - 1, 2048)], b"", 2048), "behind the end"),
        (forged(BASE, [(2, 0, 2048)], b"less", 2048), "too early"),
        (forged(BASE, [(3, 0, 2046), (0, 0, 2)], bytes(2048), 2048), "a word in two"),
        (forged(BASE, [(1, 0, 0)] * (MAX_SEGMENTS + 1), b"", 2048), "segments"),
        (forged(BASE, [(0, 0, 2048)], bytes(9999), 2048), "unpacks to"),
    ],
)  # fmt: skip
def test_a_delta_that_lies_is_refused(delta: bytes, reason: str) -> None:
    with pytest.raises(TransferError, match=reason):
        applied(BASE, delta, len(BASE))


@given(st.data())
def test_a_damaged_delta_never_yields_more_than_was_agreed(data: st.DataObject) -> None:
    delta = bytearray(encode(BASE, bytes(reversed(BASE))))
    for _ in range(data.draw(st.integers(1, 3))):
        delta[data.draw(st.integers(0, len(delta) - 1))] ^= data.draw(st.integers(1, 255))
    digest = hashlib.sha256(BASE).hexdigest()
    made = 0
    try:
        for piece in apply(io.BytesIO(BASE), [bytes(delta)], base_sha256=digest, size_bytes=len(BASE)):
            made += len(piece)
    except TransferError:
        pass
    assert made <= len(BASE)


def test_a_small_delta_cannot_grow_beyond_the_bundle() -> None:
    bomb = HEADER.pack(b"EFD1", hashlib.sha256(BASE).digest(), 1, 2048, 2048) + lzma.compress(
        bytes(50_000_000)
    )
    with pytest.raises(TransferError, match="more than"):
        applied(BASE, bomb, 2048)


class Tape:
    """A base of any size that takes no memory: what it reads is given by the offset."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes, self.at = size_bytes, 0

    def seek(self, at: int) -> None:
        self.at = at

    def read(self, size: int) -> bytes:
        size = max(0, min(size, self.size_bytes - self.at))
        self.at += size
        return bytes(size)


def test_a_hundred_megabytes_are_applied_in_the_memory_of_a_few_pieces() -> None:
    size = 100_000_000
    third = size // 4 * 4 // 2
    segments = [(2, 0, third), (3, third, third)]
    table = b"".join(SEGMENT.pack(*s) for s in segments)
    packer = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 23}])
    packed = [packer.compress(table)]
    packed += [packer.compress(bytes(1_000_000)) for _ in range(2 * third // 1_000_000)]
    packed += [packer.compress(bytes(2 * third % 1_000_000)), packer.flush()]
    header = HEADER.pack(b"EFD1", hashlib.sha256(b"").digest(), 2, 2 * third, len(table) + 2 * third)
    tracemalloc.start()
    try:
        made = 0
        for piece in apply(
            Tape(size),  # type: ignore[arg-type]  # as much of a file as is used
            [header, *packed],
            base_sha256=hashlib.sha256(b"").hexdigest(),
            size_bytes=2 * third,
        ):
            made += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made == 2 * third
    assert peak < 10 * 1024 * 1024  # 8 MiB of it are the dictionary of xz
