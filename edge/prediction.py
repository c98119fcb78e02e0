"""What a model said, read when it is asked for.

A call hands over the raw outputs as the interpreter gave them. Which class is best, its label and
the real values are worked out by whoever looks: a sink's thread and not the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from edge.backend import Array, Tensor
from edge.tensors import OutputReader
from wire.manifest import Manifest


class Reading:
    """How the outputs of one model are read. It outlives the model: predictions refer to it."""

    def __init__(
        self,
        release: str,
        outputs: tuple[Tensor, ...],
        labels: tuple[str, ...] = (),
        manifest: Manifest | None = None,
    ) -> None:
        self.release = release
        self.manifest = manifest
        self.labels = labels
        self.outputs = outputs
        self._readers = tuple(OutputReader(tensor) for tensor in outputs)

    def values(self, raw: Sequence[Array]) -> dict[str, Array]:
        """Return real values by output name."""
        return {
            reader.tensor.key: reader.read(codes) for reader, codes in zip(self._readers, raw, strict=True)
        }

    def first(self, codes: Array) -> Array:
        """Return the real values of the first output."""
        return self._readers[0].read(codes)

    def label(self, index: int) -> str | None:
        return self.labels[index] if index < len(self.labels) else None


class Prediction(tuple[Reading, Array | tuple[Array, ...], int]):
    """What the model said about one input.

    `outputs` are real values (dequantized) by output name, batch first, and `raw` the tensors as the
    interpreter gave them, in its order. `best` is the index of the largest value of the first output
    and `confidence` that value; `label` is its name, or None for a model without labels. `latency_s`
    is the time inside the model: input written, run, output copied.

    A tuple, because one is made in half the time of an object with fields, and a small model runs in
    1 us. Make it from (reading, raw, latency in ns); an only output may be given as it is.
    """

    __slots__ = ()

    __eq__ = object.__eq__  # arrays do not compare to one truth
    __ne__ = object.__ne__
    __hash__ = object.__hash__

    @property
    def release(self) -> str:
        return self[0].release

    @property
    def labels(self) -> tuple[str, ...]:
        return self[0].labels

    @property
    def manifest(self) -> Manifest | None:
        """That of the bundle which answered."""
        return self[0].manifest

    @property
    def raw(self) -> tuple[Array, ...]:
        raw = self[1]
        return raw if isinstance(raw, tuple) else (raw,)

    @property
    def latency_ns(self) -> int:
        return self[2]

    @property
    def latency_s(self) -> float:
        return self[2] * 1e-9

    @property
    def outputs(self) -> dict[str, Array]:
        return self[0].values(self.raw)

    @property
    def best(self) -> int:
        first = self.raw[0]
        return (
            int(first.argmax()) if first.size else 0
        )  # codes are ordered as their values: scales are positive

    @property
    def confidence(self) -> float:
        best = self.best
        first = self.raw[0].ravel()[best : best + 1]
        return float(self[0].first(first)[0]) if first.size else float("nan")

    @property
    def label(self) -> str | None:
        return self[0].label(self.best)

    def __repr__(self) -> str:
        return (
            f"Prediction(release={self.release!r}, best={self.best}, confidence={self.confidence:.4g}, "
            f"label={self.label!r}, latency_s={self.latency_s:.3g})"
        )


class Predictions(Sequence[Prediction]):
    """What the model said about n inputs: a sequence of Prediction, and the whole as arrays.

    `raw` and `outputs` hold arrays [n, …]; `best` is int64 [n]. `latency_s` is the time for all.
    """

    def __init__(self, reading: Reading, raw: tuple[Array, ...], latency_ns: int) -> None:
        self._reading = reading
        self.raw = raw
        self.latency_ns = latency_ns

    @property
    def release(self) -> str:
        return self._reading.release

    @property
    def latency_s(self) -> float:
        return self.latency_ns * 1e-9

    @cached_property
    def outputs(self) -> Mapping[str, Array]:
        return self._reading.values(self.raw)

    @cached_property
    def best(self) -> Array:
        rows = len(self.raw[0])
        best: Array = np.argmax(self.raw[0].reshape(rows, -1), axis=1) if rows else np.zeros(0, np.int64)
        return best

    def __len__(self) -> int:
        return len(self.raw[0])

    def __getitem__(self, row: int) -> Prediction:  # type: ignore[override]  # rows, no slices
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        raw = tuple(array[row : row + 1] for array in self.raw)
        return Prediction((self._reading, raw, self.latency_ns // max(1, len(self))))

    def __iter__(self) -> Iterator[Prediction]:
        return (self[row] for row in range(len(self)))
