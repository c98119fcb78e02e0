"""The row that is written for one answer. Pure.

The same columns for every row of a job:

    source, row                where the input stands: the file as it was given, and its row, from 0
    best, label, confidence    the class, for models of classes; of a yes or no, the share of the answer
    value | value_0 … | values for models of values: a column each, or one list of more than 64
    answer                     what the bundle's declared postprocessing says, where it declares some
    output.NAME                with --outputs: the real values of every output, row by row, in one list
    truth                      with --truth: the number of the class, or the value

A number that is not finite is left empty: JSON has none.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from edge.backend import Array, Tensor
from edge.batch import truth as truths
from edge.batch.job import Score
from edge.prediction import Prediction
from wire.errors import SettingsError
from wire.manifest import Manifest

_MOST_VALUE_COLUMNS: Final = 64

Kind = Literal["text", "whole", "real", "json", "list"]

#: The cells of one row, in the order of the columns.
Cells = list[Any]


class Column(NamedTuple):
    """A column of the answers. `json` cells hold a list of objects, `list` cells one of numbers."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Wishes:
    """What the rows shall hold besides the answer."""

    outputs: bool = False
    truth: bool = False


class Form:
    """How predictions of one model become rows."""

    def __init__(
        self, manifest: Manifest, labels: tuple[str, ...], outputs: tuple[Tensor, ...], wishes: Wishes
    ) -> None:
        self._labels = labels
        self._binary = manifest.task == "binary" and math.prod(outputs[0].shape) == 1
        self.declared = manifest.postprocessing.kind != "none"
        self.boxes = manifest.postprocessing.kind == "boxes"
        self.values = manifest.task == "values" and not self.boxes
        self._numbers = math.prod(outputs[0].shape[1:])
        self._classes = 2 if self._binary else self._numbers
        self._wishes = wishes
        self.columns = self._columns(outputs)

    @property
    def needs_answer(self) -> bool:
        """Whether a row holds, or is told by, what the bundle declares to be the answer."""
        return self.declared or self._binary

    def check_truth(self) -> None:
        """Raise SettingsError when a truth was asked for that no answer can be compared with."""
        if self._wishes.truth and (self.boxes or (self.values and self._numbers != 1)):
            kind = "boxes" if self.boxes else f"{self._numbers} values"
            raise SettingsError(f"--truth: this model answers with {kind}, which one column cannot judge")

    def truth(self, raw: Any) -> float | None:
        """Return what the truth beside an input says; raise DataError for what cannot be one."""
        if not self._wishes.truth:
            return None
        return (
            truths.real_number(raw) if self.values else truths.class_number(raw, self._labels, self._classes)
        )

    def row(
        self,
        source: str,
        row: int | None,
        prediction: Prediction,
        answer: list[dict[str, object]],
        truth: float | None,
    ) -> tuple[Cells, Score]:
        """Return the cells of one answer and how right it is."""
        cells: Cells = [source, row]
        score = Score()
        if self.values:
            values = _short(self._first(prediction))
            cells += [values] if self._numbers > _MOST_VALUE_COLUMNS else values
            score = truths.judge_value(values[0] if values else None, truth)
        elif not self.boxes:
            best = self._best(prediction, answer)
            cells += best
            score = truths.judge_class(best[0], None if truth is None else int(truth))
        if self.declared:
            cells.append(answer)
        if self._wishes.outputs:
            cells += [_finite(np.asarray(values).reshape(-1)) for values in prediction.outputs.values()]
        if self._wishes.truth:
            cells.append(truth)
        return cells, score

    def _best(self, prediction: Prediction, answer: list[dict[str, object]]) -> Cells:
        if not self._binary:
            confidence = prediction.confidence
            if not math.isfinite(confidence):
                return [None, None, None]
            return [prediction.best, prediction.label, _shortest(confidence)]
        if not answer:
            return [None, None, None]
        share, yes = answer[0]["score"], answer[0]["class"]
        assert isinstance(share, float), "a yes or no has a share"
        return [yes, answer[0]["label"], share if yes else _shortest(1 - share)]

    def _first(self, prediction: Prediction) -> Array:
        first: Array = next(iter(prediction.outputs.values()))
        return first.reshape(-1)

    def _columns(self, outputs: tuple[Tensor, ...]) -> tuple[Column, ...]:
        columns = [Column("source", "text"), Column("row", "whole")]
        if self.values:
            columns += _value_columns(self._numbers)
        elif not self.boxes:
            columns += [Column("best", "whole"), Column("label", "text"), Column("confidence", "real")]
        if self.declared:
            columns.append(Column("answer", "json"))
        if self._wishes.outputs:
            columns += [Column(f"output.{tensor.key}", "list") for tensor in outputs]
        if self._wishes.truth:
            columns.append(Column("truth", "real" if self.values else "whole"))
        return tuple(columns)


def flat(cells: Cells) -> Cells:
    """Return cells for a table of plain values: lists as JSON text."""
    return [json.dumps(cell) if isinstance(cell, list) else cell for cell in cells]


def line(columns: tuple[Column, ...], cells: Cells) -> str:
    """Return cells as one line of JSON, without its end."""
    return json.dumps(dict(zip([c.name for c in columns], cells, strict=True)), ensure_ascii=False)


def count_cells(cells: Cells) -> int:
    """Return how many values a row holds: what it costs while it waits to be written."""
    return sum(len(cell) if isinstance(cell, list) else 1 for cell in cells)


def _value_columns(count: int) -> list[Column]:
    if count == 1:
        return [Column("value", "real")]
    if count <= _MOST_VALUE_COLUMNS:
        return [Column(f"value_{number}", "real") for number in range(count)]
    return [Column("values", "list")]


def _short(values: Array) -> list[float | None]:
    return [_shortest(value) if math.isfinite(value) else None for value in values.tolist()]


def _shortest(value: float) -> float:
    """Return the number with the fewest digits that is the same as a float32: 0.98, not 0.9800000191."""
    return float(str(np.float32(value)))


def _finite(values: Array) -> list[Any]:
    plain: list[Any] = values.tolist()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return [value if math.isfinite(value) else None for value in plain]
    return plain
