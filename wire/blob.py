"""Blobs: how a bundle is compressed, cut into chunks, and put together again.

A blob is named by its own SHA-256 and cut into chunks of 64 KiB. The digests of the chunks form a
list of 32 raw bytes each, which travels as a blob of one chunk, so that a bad chunk is refused on
arrival. One list bounds a blob to 2,048 chunks, that is 128 MiB.

The codec is the standard library's xz: no board needs a wheel for it. Weights are noise to any
compressor (level and codec are worth 1 to 2 %), so the dictionary is capped for the device's sake.
What pays is to tell xz how wide a weight is: 8 % on float32, 1 % on int8, at no cost to the device.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from wire.errors import BundleError, TransferError
from wire.messages import MAX_BLOB_BYTES, Blob

#: Hears how many bytes of a piece of work are done, and of how many.
Told = Callable[[int, int], None]

CHUNK_BYTES: Final = 64 * 1024
DIGEST_BYTES: Final = 32

_DICTIONARY_BYTES: Final = 8 * 1024 * 1024
#: xz needs its dictionary and about 32 KiB to decode; a file that asks for more is refused.
_DECODE_LIMIT_BYTES: Final = _DICTIONARY_BYTES + 2 * 1024 * 1024
_OUTPUT_STEP_BYTES: Final = 256 * 1024
#: About 0.2 s of work: how often a progress bar moves.
_INPUT_STEP_BYTES: Final = 256 * 1024
#: How xz models a byte: by itself (int8 weights), or by its place among four (float32 weights).
_MODELS: Final = ({"lc": 0, "lp": 0, "pb": 0}, {"lc": 0, "lp": 2, "pb": 2})


def compress(data: bytes, told: Told = lambda _done, _total: None) -> bytes:
    """Return `data` as xz with a dictionary that any board can hold: the smaller of two models of it.

    `told` hears how far it is, in bytes of `data` over all models.
    """
    done, total = 0, len(_MODELS) * len(data)

    def add(taken: int) -> None:
        nonlocal done
        done += taken
        told(done, total)

    return min((_compress(data, model, add) for model in _MODELS), key=len)


def _compress(data: bytes, model: dict[str, int], taken: Callable[[int], None]) -> bytes:
    dictionary = max(4096, min(_DICTIONARY_BYTES, len(data)))
    chain = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary, **model}
    encoder = lzma.LZMACompressor(format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=[chain])
    out, view = [], memoryview(data)
    for start in range(0, len(data), _INPUT_STEP_BYTES):
        piece = view[start : start + _INPUT_STEP_BYTES]
        out.append(encoder.compress(piece))
        taken(len(piece))
    return b"".join([*out, encoder.flush()])


def decompress(pieces: Iterable[bytes], *, size_bytes: int) -> Iterator[bytes]:
    """Decompress xz `pieces` in constant memory.

    Raises TransferError when the data is not xz, asks for more memory than a board has, or does
    not yield exactly `size_bytes` (so a small blob cannot fill a disk).
    """
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_DECODE_LIMIT_BYTES)
    left = size_bytes
    try:
        for piece in pieces:
            for out in _drain(decoder, piece):
                left -= len(out)
                if left < 0:
                    raise TransferError(f"blob decompresses to more than {size_bytes} bytes")
                yield out
    except (lzma.LZMAError, EOFError, MemoryError) as error:
        raise TransferError(f"blob is not decodable xz: {error}") from error
    if left or not decoder.eof:
        raise TransferError(f"blob decompresses to {size_bytes - left} bytes instead of {size_bytes}")


def _drain(decoder: lzma.LZMADecompressor, piece: bytes) -> Iterator[bytes]:
    yield decoder.decompress(piece, max_length=_OUTPUT_STEP_BYTES)
    while not decoder.eof and not decoder.needs_input:
        yield decoder.decompress(b"", max_length=_OUTPUT_STEP_BYTES)


def chunks(data: bytes) -> list[bytes]:
    """Cut `data` into chunks of CHUNK_BYTES; the last one may be shorter."""
    return [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]


def digest_list(data: bytes) -> bytes:
    """Return the SHA-256 digests of the chunks of `data`, concatenated."""
    return b"".join(hashlib.sha256(chunk).digest() for chunk in chunks(data))


def describe(data: bytes) -> Blob:
    """Return the description of blob `data`; raise BundleError when it is too large to travel."""
    if len(data) > MAX_BLOB_BYTES:
        raise BundleError(f"{len(data)} bytes compressed: a blob may have {MAX_BLOB_BYTES} (128 MiB)")
    return Blob(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        chunks_sha256=hashlib.sha256(digest_list(data)).hexdigest(),
    )


def chunk_count(size_bytes: int) -> int:
    """Return how many chunks a blob of `size_bytes` has."""
    return -(-size_bytes // CHUNK_BYTES)


def parse_digests(raw: bytes, blob: Blob) -> tuple[bytes, ...]:
    """Return the chunk digests in list `raw`; raise TransferError unless it is the list of `blob`."""
    if hashlib.sha256(raw).hexdigest() != blob.chunks_sha256:
        raise TransferError("chunk list does not match its digest")
    if len(raw) != chunk_count(blob.size_bytes) * DIGEST_BYTES:
        raise TransferError(f"chunk list has {len(raw)} bytes, the blob {blob.size_bytes}")
    return tuple(raw[i : i + DIGEST_BYTES] for i in range(0, len(raw), DIGEST_BYTES))
