"""Counts the features of a share of the inputs, in the bins of the reference that came with the model.

Inputs are seen where answers are looked at, on the control thread: those of a source, and single ones over
HTTP. So many of a turn at most are measured (a picture takes about a millisecond), spread over the turn:
which share that was does not matter to what is made of the counts, which is a distribution.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.backend import Array, Tensor
from edge.recorder import Recorder
from edge.scored import Scored
from edge.tensors import dequantize, part_of
from wire import features
from wire.errors import InputError
from wire.manifest import Preprocessing
from wire.reference import Reference

#: Inputs measured at one turn of the control thread.
_A_TURN: Final = 16


@dataclass(frozen=True)
class Measured:
    """What the inputs of one model are measured against."""

    reference: Reference
    tensors: tuple[Tensor, ...]
    preprocessing: Preprocessing


#: Returns that of a release which serves; None where its bundle has no reference, or it serves no more.
MeasuredBy = Callable[[str], Measured | None]


class InputStatistics:
    """Takes a share of `rate` of the inputs it is offered."""

    def __init__(
        self, recorder: Recorder, measured_by: MeasuredBy, rate: float, random: Callable[[], float]
    ) -> None:
        self._recorder = recorder
        self._measured_by = measured_by
        self._rate = rate
        self._random = random

    def offer(self, answers: list[Scored]) -> None:
        groups: dict[str, list[Any]] = defaultdict(list)
        for one in answers:
            if self._random() < self._rate:
                groups[one.result.prediction.release].append(one.result.sample.inputs)
        for release, inputs in groups.items():
            measured = self._measured_by(release)
            if measured is not None and measured.reference.features:
                self._count(release, inputs[:: -(-len(inputs) // _A_TURN)], measured)

    def _count(self, release: str, inputs: list[Any], measured: Measured) -> None:
        rows = [_real_rows(inputs, place, measured.tensors) for place in range(len(measured.tensors))]
        counts: dict[str, Array] = {}
        for feature in measured.reference.features:
            if feature.input >= len(rows) or not len(rows[feature.input]):
                continue
            how = measured.preprocessing if feature.input == 0 else Preprocessing()
            values = features.measure(feature, rows[feature.input], how)
            if values is not None:
                counts[feature.name] = features.count(feature, values)
        self._recorder.meter(release).count_features(counts)


def _real_rows(inputs: list[Any], position: int, tensors: tuple[Tensor, ...]) -> Array:
    """Return the real values of one input of each sample, [n, …], without what does not fit the model."""
    tensor = tensors[position]
    shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
    rows = []
    for given in inputs:
        try:
            value = np.asarray(part_of(given, position, tensors))
            real = dequantize(tensor, value) if value.dtype == tensor.dtype else value.astype(np.float64)
            rows.append(real.reshape(shape))
        except (InputError, TypeError, ValueError):
            continue
    return np.stack(rows) if rows else np.empty((0, *shape))
