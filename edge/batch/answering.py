"""One worker's task: entries in, rows and errors out, in the same order.

Rules:
- what is wrong with one input is that input's error; only what would be wrong with every one of them
  (a package that is not installed) ends the job;
- a truth that cannot be one costs no answer: the row is not judged;
- a batch that fails is asked again row by row, so that one bad row costs only itself.

Threads: one object for all workers; it keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge.backend import Array
from edge.batch.answers import Cells, Form
from edge.batch.entries import Entry, Raw
from edge.batch.intake import Intake, row_shape
from edge.batch.job import Position, Score
from edge.prediction import Prediction
from edge.runtime import Runtime
from wire.errors import BundleError, DataError, InputError, ModelError

_OF_ONE_INPUT = (DataError, InputError, ModelError, BundleError)


@dataclass(frozen=True)
class Refusal:
    """An input without an answer. `row` is None when the whole file cannot be read."""

    source: str
    row: int | None
    reason: str


@dataclass
class Answered:
    """What became of one chunk; `after` and `read_bytes` say where the inputs stand behind it."""

    after: Position
    read_bytes: int
    rows: list[Cells] = field(default_factory=list)
    errors: list[Refusal] = field(default_factory=list)
    score: Score = field(default_factory=Score)


@dataclass(frozen=True)
class _Ready:
    """An entry whose input is what the model takes."""

    entry: Entry
    inputs: Any
    truth: float | None
    odd: bool = False


class Answerer:
    """Asks the runtime. `batch` is how many rows go into one call, 0 for one after the other."""

    def __init__(self, runtime: Runtime, intake: Intake, form: Form, batch: int = 0) -> None:
        self._runtime = runtime
        self._intake = intake
        self._form = form
        self._batch = batch

    def answer(self, chunk: Sequence[Entry]) -> Answered:
        """Answer a chunk; raise UnavailableError when nothing of its kind can be answered here."""
        answered = Answered(chunk[-1].after, chunk[-1].read_bytes)
        ready: list[_Ready] = []
        for entry in chunk:
            try:
                ready.append(self._ready(entry))
                if not self._batch:
                    self._add(answered, ready[-1], self._runtime.predict(ready[-1].inputs))
            except _OF_ONE_INPUT as error:
                answered.errors.append(_refusal(entry, error))
        if self._batch and ready:
            self._add_batch(answered, ready)
        return answered

    def _ready(self, entry: Entry) -> _Ready:
        if entry.problem:
            raise DataError(entry.problem)
        inputs = entry.inputs
        if isinstance(inputs, Raw):
            inputs = self._prepared(inputs.read())
        elif isinstance(inputs, list) and isinstance(inputs[0], Raw):
            inputs = [self._prepared(inputs[0].read()), *inputs[1:]]
        try:
            return _Ready(entry, inputs, self._form.truth(entry.truth))
        except DataError:
            return _Ready(entry, inputs, None, odd=True)

    def _prepared(self, raw: Array) -> Array:
        wanted = row_shape(self._intake.tensors[0])
        if self._intake.preprocessing.kind == "none" and raw.shape != wanted:
            raise InputError(
                f"it is {list(raw.shape)}, the model takes {list(wanted)}, and the bundle does not declare "
                "how pictures or sounds are prepared"
            )
        return self._runtime.prepare(raw)

    def _add(self, answered: Answered, ready: _Ready, prediction: Prediction) -> None:
        answer = self._runtime.answer(prediction) if self._form.needs_answer else []
        entry = ready.entry
        cells, score = self._form.row(entry.source, entry.row, prediction, answer, ready.truth)
        answered.rows.append(cells)
        answered.score += score + Score(odd=int(ready.odd))

    def _add_batch(self, answered: Answered, ready: list[_Ready]) -> None:
        try:
            predictions: Sequence[Prediction] = self._predict_batch([one.inputs for one in ready])
        except (InputError, ModelError, ValueError):
            predictions = []
        for number, one in enumerate(ready):  # predictions behind them only fill the batch
            try:
                again = not predictions
                self._add(answered, one, self._runtime.predict(one.inputs) if again else predictions[number])
            except _OF_ONE_INPUT as error:
                answered.errors.append(_refusal(one.entry, error))

    def _predict_batch(self, inputs: list[Any]) -> Sequence[Prediction]:
        """Ask for all at once. The batch is filled with its last row: another size costs milliseconds."""
        filled = inputs + inputs[-1:] * (self._batch - len(inputs))
        if isinstance(filled[0], (list, tuple)):
            count = len(self._intake.tensors)
            return self._runtime.predict_batch(
                [np.stack([self._row(one[i], i) for one in filled]) for i in range(count)], resize=True
            )
        return self._runtime.predict_batch(np.stack([self._row(one, 0) for one in filled]), resize=True)

    def _row(self, array: Array, number: int) -> Array:
        """Return an input without its batch of 1."""
        shape = self._intake.tensors[number].shape
        return array[0] if array.shape == shape and shape[:1] == (1,) else array


def _refusal(entry: Entry, error: Exception) -> Refusal:
    reason = str(error).removeprefix(entry.source).lstrip(": ")  # some readers begin with the name
    return Refusal(entry.source, entry.row, " ".join(reason.split())[:500])
