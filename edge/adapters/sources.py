"""Where samples come from: files and standard input."""

from __future__ import annotations

import itertools
import json
import queue
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from edge.results import Sample
from wire.errors import DataError

#: What a source without samples yields: the loop turns, and nothing is inferred.
IDLE: Final = Sample("", None)

_IDLE_TURN_S: Final = 0.5
_MAX_CLASS: Final = 2**31


def idle_stream(stop: threading.Event) -> Iterator[Sample]:
    """Yield IDLE now and then: a device that is only fed by other means."""
    while not stop.wait(_IDLE_TURN_S):
        yield IDLE


def npz_stream(path: Path) -> Iterator[Sample]:
    """Yield the rows of `x_test` (or `x`) for ever, with `y_test` (or `y`) as their truth.

    Raises DataError, before the first sample, when the file cannot be used.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files)
            inputs = archive["x_test" if "x_test" in names else "x"]
            key = "y_test" if "y_test" in names else "y"
            truths = archive[key] if key in names else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a source: {error}") from error
    if not inputs.ndim or not len(inputs):
        raise DataError(f"{path} holds no samples")
    if truths is not None and (truths.shape != (len(inputs),) or truths.dtype.kind not in "iu"):
        raise DataError(f"{path}: {key} must hold one class number for each sample")
    return _repeat(inputs, truths)


def _repeat(inputs: np.ndarray, truths: np.ndarray | None) -> Iterator[Sample]:  # type: ignore[type-arg]  # any dtype
    for n in itertools.count():
        row = n % len(inputs)
        yield Sample(f"{n}", inputs[row], int(truths[row]) if truths is not None else None)


def ndjson_stream(lines: TextIO, stop: threading.Event) -> Iterator[Sample]:
    """Yield one sample for each line `{"id": …, "input": […], "truth": …}`; id and truth are optional.

    A line that is not such an object raises DataError with its number. Lines are read on a thread of
    their own, since a blocked read cannot be told to stop.
    """
    waiting: queue.Queue[str | None] = queue.Queue(maxsize=64)
    threading.Thread(target=_read_lines, args=(lines, waiting), name="stdin", daemon=True).start()
    for number in itertools.count(1):
        while True:
            try:
                line = waiting.get(timeout=0.2)
                break
            except queue.Empty:
                if stop.is_set():
                    return
                yield IDLE
        if line is None:
            return
        if line.strip():
            yield _parse(line, number)


def _read_lines(lines: TextIO, waiting: queue.Queue[str | None]) -> None:
    for line in lines:
        waiting.put(line)
    waiting.put(None)


def _parse(line: str, number: int) -> Sample:
    try:
        row = json.loads(line)
        truth = row.get("truth")
        if truth is not None and not 0 <= int(truth) < _MAX_CLASS:
            raise ValueError(f"truth {truth}")
        name = str(row.get("id", number)).encode(errors="replace").decode()
        return Sample(name, np.asarray(row["input"]), None if truth is None else int(truth))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"line {number} of the input is no sample: {error!r}") from error
