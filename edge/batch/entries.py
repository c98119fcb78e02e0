"""What is read from the inputs, one entry for each row, and how entries become chunks of work. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from edge.backend import Array
from edge.batch.job import Position


@dataclass(frozen=True)
class Raw:
    """A picture or a sound: `read` (files are opened by who answers) gives what is still to be prepared."""

    read: Callable[[], Array]


class Entry(NamedTuple):
    """One row of one input, or a `problem` in its place.

    `row` is None for a problem of the whole file. `inputs` is what the model takes, or Raw; `after` is
    the position behind it, `read_bytes` how much of all inputs is read then, `weight_bytes` what it
    holds in memory.
    """

    source: str
    row: int | None
    after: Position
    read_bytes: int
    weight_bytes: int = 0
    inputs: Any = None
    truth: Any = None
    problem: str = ""


@dataclass(frozen=True)
class Portion:
    """How much one worker takes at a time: `exact` rows for a batch, else what either limit allows."""

    rows: int
    size_bytes: int = 1024 * 1024
    exact: bool = False


def chunks(entries: Iterable[Entry], portion: Portion) -> Iterator[list[Entry]]:
    """Put entries together, in their order."""
    chunk: list[Entry] = []
    weight = 0
    for entry in entries:
        chunk.append(entry)
        weight += entry.weight_bytes
        if len(chunk) >= portion.rows or (weight >= portion.size_bytes and not portion.exact):
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


def portion_for(row_bytes: int, latency_s: float) -> Portion:
    """Return chunks for a model: about 20 ms of work and 1 MB of inputs and outputs.

    Small enough to stop soon and to hold little, large enough that handing over costs nothing: that
    is 30 us a chunk.
    """
    by_time = int(0.02 / max(latency_s, 1e-6))
    by_size = 1024 * 1024 // max(row_bytes, 1)
    return Portion(max(1, min(256, by_time, by_size)))
