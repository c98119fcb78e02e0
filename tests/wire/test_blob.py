"""Blobs: compression with a limit, chunks, digests."""

from __future__ import annotations

import lzma
import random

import pytest

from wire.blob import (
    CHUNK_BYTES,
    chunk_count,
    chunks,
    compress,
    decompress,
    describe,
    digest_list,
    parse_digests,
)
from wire.errors import BundleError, TransferError
from wire.messages import MAX_BLOB_BYTES

DATA = random.Random(1).randbytes(300_000) + bytes(300_000)


def inflate(data: bytes, size_bytes: int) -> bytes:
    return b"".join(decompress(chunks(data), size_bytes=size_bytes))


def test_a_blob_comes_back_as_it_was() -> None:
    assert inflate(compress(DATA), len(DATA)) == DATA


def test_compression_is_the_same_every_time() -> None:
    assert compress(DATA) == compress(DATA)


def test_compression_says_how_far_it_is_and_is_what_xz_makes_in_one_go() -> None:
    told: list[tuple[int, int]] = []
    packed = compress(DATA, lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (2 * len(DATA), 2 * len(DATA))
    assert len(told) == 6
    chains = [
        {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": len(DATA), **model}
        for model in ({"lc": 0, "lp": 0, "pb": 0}, {"lc": 0, "lp": 2, "pb": 2})
    ]
    once = [lzma.compress(DATA, check=lzma.CHECK_CRC32, filters=[chain]) for chain in chains]
    assert packed == min(once, key=len)


@pytest.mark.parametrize("size_bytes", [0, len(DATA) - 1, len(DATA) + 1])
def test_a_blob_of_another_size_than_announced_is_refused(size_bytes: int) -> None:
    with pytest.raises(TransferError):
        inflate(compress(DATA), size_bytes)


def test_a_bomb_is_stopped_at_the_announced_size() -> None:
    bomb = compress(bytes(50_000_000))
    assert len(bomb) < 20_000
    produced = 0
    with pytest.raises(TransferError, match="more than"):
        for piece in decompress([bomb], size_bytes=1_000_000):
            produced += len(piece)
    assert produced <= 1_000_000


def test_a_blob_that_wants_more_memory_than_a_board_has_is_refused() -> None:
    greedy = lzma.compress(
        DATA, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 * 1024 * 1024}]
    )
    with pytest.raises(TransferError, match="Memory usage limit"):
        inflate(greedy, len(DATA))


@pytest.mark.parametrize(
    "broken", [b"", b"not xz", compress(DATA)[:-20], compress(DATA)[:1000] + b"x" * 1000]
)
def test_what_is_not_whole_xz_is_refused(broken: bytes) -> None:
    with pytest.raises(TransferError):
        inflate(broken, len(DATA))


def test_the_digest_list_is_that_of_its_blob_and_no_other() -> None:
    blob = describe(DATA)
    assert len(parse_digests(digest_list(DATA), blob)) == chunk_count(len(DATA)) == len(chunks(DATA)) == 10
    with pytest.raises(TransferError, match="digest"):
        parse_digests(digest_list(DATA[:-1]), blob)


def test_the_digest_list_of_the_largest_blob_fits_one_chunk() -> None:
    assert chunk_count(MAX_BLOB_BYTES) * 32 == CHUNK_BYTES


def test_a_larger_blob_is_refused_before_it_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.blob.MAX_BLOB_BYTES", 1000)
    with pytest.raises(BundleError, match="may have"):
        describe(DATA)
