"""One way to send an update, in a process that loads nothing else: for delta.py.

    python benchmarks/delta_ways.py encode WAY BASE NEW UPDATE
    python benchmarks/delta_ways.py apply WAY BASE UPDATE OUT

`apply` goes from file to file, prints {"peak_mb": by which resident memory rose the first time, "apply_ms":
processor time of each time behind it}, and leaves the result in OUT.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import bsdiff4
import hdiffpatch
import zstandard

from wire.blob import CHUNK_BYTES
from wire.delta import apply, encode

_TIMES: Final = 5
_WINDOW_LOG: Final = 27


def _zstd_encode(base: bytes, new: bytes) -> bytes:
    level = zstandard.ZstdCompressionParameters.from_level(19, window_log=_WINDOW_LOG, enable_ldm=True)
    made: bytes = zstandard.ZstdCompressor(compression_params=level, dict_data=_prefix(base)).compress(new)
    return made


def _prefix(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _hdiff_encode(base: bytes, new: bytes) -> bytes:
    made: bytes = hdiffpatch.diff(base, new, hdiffpatch.COMPRESSION_LZMA2)
    return made


def _apply_ours(base: Path, update: Path, out: Path) -> None:
    with base.open("rb") as old, update.open("rb") as delta, out.open("wb") as new:
        header = delta.read(48)  # a device has these two from the signed release
        size = int.from_bytes(header[40:44], "little")
        delta.seek(0)
        pieces = iter(lambda: delta.read(CHUNK_BYTES), b"")
        for piece in apply(old, pieces, base_sha256=header[4:36].hex(), size_bytes=size):
            new.write(piece)


def _apply_bsdiff(base: Path, update: Path, out: Path) -> None:
    out.write_bytes(bsdiff4.patch(base.read_bytes(), update.read_bytes()))


def _apply_hdiff(base: Path, update: Path, out: Path) -> None:
    out.write_bytes(hdiffpatch.apply(base.read_bytes(), update.read_bytes()))


def _apply_zstd(base: Path, update: Path, out: Path) -> None:
    prefix = _prefix(base.read_bytes())
    decompressor = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=1 << _WINDOW_LOG)
    out.write_bytes(decompressor.decompress(update.read_bytes()))


_Encode = Callable[[bytes, bytes], bytes]
_Apply = Callable[[Path, Path, Path], None]
_WAYS: Final[dict[str, tuple[_Encode, _Apply]]] = {
    "ours": (encode, _apply_ours),
    "bsdiff4": (bsdiff4.diff, _apply_bsdiff),
    "hdiffpatch": (_hdiff_encode, _apply_hdiff),
    "zstd": (_zstd_encode, _apply_zstd),
}


def measure(work: _Apply, files: tuple[Path, Path, Path]) -> dict[str, object]:
    """Apply once for the memory and some times for the time."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = _resident_kb("VmRSS")
    work(*files)
    peak_mb = (_resident_kb("VmHWM") - before) / 1024
    times = []
    for _ in range(_TIMES):
        start = time.process_time()
        work(*files)
        times.append(1000 * (time.process_time() - start))
    return {"peak_mb": peak_mb, "apply_ms": times}


def _resident_kb(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def main(task: str, way: str, base: Path, given: Path, out: Path) -> None:
    """Be the child."""
    make, work = _WAYS[way]
    if task == "encode":
        out.write_bytes(make(base.read_bytes(), given.read_bytes()))
    else:
        print(json.dumps(measure(work, (base, given, out))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:]))
