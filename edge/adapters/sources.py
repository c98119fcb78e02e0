"""Where samples come from: files, and lines on standard input.

The other sources are in the files source_*.py; all yield `Sample`s, and IDLE when they have nothing.
"""

from __future__ import annotations

import itertools
import queue
import threading
import zipfile
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.online.samples import parse_json
from edge.online.tally import Tally
from edge.results import Sample
from wire.errors import DataError

#: What a source without samples yields: the loop turns, and nothing is inferred.
IDLE: Final = Sample("", None)

_IDLE_TURN_S: Final = 0.5
_TURN_S: Final = 0.2

#: Read ahead of the model. Past it the reader waits, and with it whoever writes into the pipe.
_BLOCK_BYTES: Final = 64 * 1024
_BLOCKS_AHEAD: Final = 2

#: A longer line is refused: 64 MiB hold a picture of 1600 x 1600 in three colours as numbers.
MAX_LINE_BYTES: Final = 64 * 1024 * 1024


def idle_stream(stop: threading.Event) -> Iterator[Sample]:
    """Yield IDLE now and then: a device that is only fed by other means."""
    while not stop.wait(_IDLE_TURN_S):
        yield IDLE


def npz_stream(path: Path, *, repeat: bool = True) -> Iterator[Sample]:
    """Yield the rows of `x_test` (or `x`), with `y_test` (or `y`) as their truth; for ever, or once.

    Raises DataError, before the first sample, when the file cannot be used.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files)
            inputs = archive["x_test" if "x_test" in names else "x"]
            key = "y_test" if "y_test" in names else "y"
            truths = archive[key] if key in names else None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as a source: {reason}") from error
    if not inputs.ndim or not len(inputs):
        raise DataError(f"{path} holds no samples")
    if truths is not None and (truths.shape != (len(inputs),) or truths.dtype.kind not in "iuf"):
        raise DataError(f"{path}: {key} must hold one class number, or one value, for each sample")
    return _rows(inputs, truths, itertools.count() if repeat else range(len(inputs)))


def _rows(
    inputs: np.ndarray[Any, Any], truths: np.ndarray[Any, Any] | None, numbers: Any
) -> Iterator[Sample]:
    for n in numbers:
        row = n % len(inputs)
        truth = None if truths is None else truths[row]
        yield Sample(
            f"{n}",
            inputs[row],
            None if truths is None or truths.dtype.kind == "f" else int(truths[row]),
            value=None if truth is None or not np.isfinite(truth) else float(truth),
        )


def line_stream(
    open_file: Callable[[], BufferedIOBase], name: str, tally: Tally, stop: threading.Event
) -> Iterator[Sample]:
    """Yield one sample for each line `{"id": …, "input": […], "truth": …}`; id and truth are optional.

    A line that is no such object is counted in `tally` with its number, and the stream goes on. Lines
    are read on a thread of their own, since a blocked read cannot be told to stop; it waits while
    the model is behind, so nothing is dropped.
    """
    waiting: queue.Queue[list[bytes] | OSError] = queue.Queue(_BLOCKS_AHEAD)
    threading.Thread(target=_read_lines, args=(open_file(), waiting), name="lines", daemon=True).start()
    number = 0
    while not stop.is_set():
        try:
            block = waiting.get(timeout=_TURN_S)
        except queue.Empty:
            yield IDLE
            continue
        if isinstance(block, OSError):
            raise DataError(f"{name}: {block.strerror or block}") from block
        if not block:
            return
        for line in block:
            number += 1
            sample = _parse(line, number, name, tally)
            if sample is not None:
                yield sample


def _parse(line: bytes, number: int, name: str, tally: Tally) -> Sample | None:
    try:
        if len(line) > MAX_LINE_BYTES:
            raise DataError(f"line {number} of {name} is longer than {MAX_LINE_BYTES} bytes")
        return parse_json(line, f"line {number} of {name}", str(number)) if line.strip() else None
    except DataError as error:
        tally.refuse("line", str(error))
        return None


def _read_lines(file: BufferedIOBase, waiting: queue.Queue[list[bytes] | OSError]) -> None:
    """Be the thread that reads: whole lines, as many as came at once; an empty list at the end."""
    parts: list[bytes] = []  # of the line that has not ended yet; of one that is too long, its beginning
    size_bytes = 0
    try:
        with file:
            while block := file.read1(_BLOCK_BYTES):
                lines = block.split(b"\n")
                if size_bytes <= MAX_LINE_BYTES:
                    parts.append(lines[0])
                    size_bytes += len(lines[0])
                if len(lines) == 1:
                    continue
                lines[0] = b"".join(parts)
                parts = [lines.pop()]
                size_bytes = len(parts[0])
                waiting.put(lines)
            if size_bytes:
                waiting.put([b"".join(parts)])
    except OSError as error:
        waiting.put(error)
    waiting.put([])
