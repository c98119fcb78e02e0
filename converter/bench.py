"""The data of one conversion, bound to its model: what calibrates, what chooses, what reports. Pure.

The source answers the rows of both splits once; every form of the model is marked against those
answers, and against the truth where one is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from converter.dataset import Dataset, Samples, Split, bind
from converter.evaluation import Array, Evaluation, are_class_shares, evaluate, value_marks
from converter.source import Converted
from converter.task import Task, task_of, truth_for
from wire.errors import DataError, ModelError


@dataclass(frozen=True)
class Part:
    """Some of the evaluated rows, by position, with their truth as `evaluate` takes it."""

    rows: slice
    truth: Array | None


@dataclass(frozen=True)
class Bench:
    """What forms of a model are measured on.

    `rows` are the evaluated inputs, [n, ...] for each of the model's; `reference` is what the source
    answers to them, for each output. `train` is None without a data set.
    """

    task: Task
    rows: tuple[Array, ...]
    reference: tuple[Array, ...]
    choose: Part
    test: Part
    train: Samples | None = None
    labels: tuple[str, ...] = ()

    @property
    def real_rows(self) -> tuple[Array, ...]:
        """The evaluated inputs; none where they were made up, for want of data."""
        return self.rows if self.train is not None else ()

    def marks(self, answers: tuple[Array, ...]) -> tuple[Evaluation, Evaluation]:
        """Return the evaluations of `answers` (for each output, [n, ...]) on the two parts."""
        self._check(answers)
        return self._mark(answers, self.choose), self._mark(answers, self.test)

    def differences(
        self, answers: tuple[Array, ...], other: tuple[Array, ...] | None = None
    ) -> tuple[float, ...]:
        """Return for each output the largest difference from `other`, or from the source's."""
        return tuple(
            float(np.max(np.abs(mine.astype(np.float64) - theirs.reshape(mine.shape))))
            for mine, theirs in zip(answers, other or self.reference, strict=True)
        )

    def _mark(self, answers: tuple[Array, ...], part: Part) -> Evaluation:
        reference = self.reference[0]
        mine = answers[0].reshape(reference.shape)[part.rows]
        found = evaluate(mine, reference[part.rows], part.truth, self.task)
        others = [
            value_marks(one[part.rows], theirs[part.rows]).fit
            for one, theirs in zip(answers[1:], self.reference[1:], strict=True)
        ]
        return replace(found, others_fit=min(others, default=1.0))

    def _check(self, answers: tuple[Array, ...]) -> None:
        if [a.size for a in answers] != [a.size for a in self.reference]:
            raise ModelError(
                f"it answers {[list(a.shape) for a in answers]}, "
                f"the source {[list(a.shape) for a in self.reference]}"
            )
        if not all(np.isfinite(array).all() for array in answers):
            raise ModelError("its outputs are not finite")


def evaluated_rows(data: Dataset) -> dict[str, Array]:
    """Return the inputs that the source has to answer: those of both splits, one after the other."""
    if data.choose is data.test:
        return dict(data.test.inputs)
    return {key: np.concatenate([data.choose.inputs[key], data.test.inputs[key]]) for key in data.test.inputs}


def make_bench(data: Dataset | None, converted: Converted, *, apart: bool) -> Bench:
    """Bind `data` to the model that was converted; without data, its synthetic rows are all there is.

    `apart` keeps the choosing split out of the report's; otherwise both are all evaluated rows.
    Raises DataError for truth that does not fit the outputs.
    """
    count = len(converted.rows[0])
    both = slice(0, count)
    if data is None:
        return _without_truth(converted, Part(both, None), None, ())
    train = bind(data.train, converted.inputs, f"{data.name}: {data.train.input_name('')}")
    truth = _joined(data.choose, data.test, data.name)
    task = task_of(truth, converted.answers[0])
    if task == "unlabelled" or truth is None:
        return _without_truth(converted, Part(both, None), train, data.labels)

    def part(rows: slice) -> Part:
        name = f"{data.name}: {data.test.truth_name}"
        return Part(rows, truth_for(task, truth[rows], converted.answers[0][rows], name, data.labels))

    whole = part(both)
    given = data.choose.part != data.test.part  # validation rows of their own are no test rows
    separate = (apart or given) and data.choose is not data.test
    choose, test = (
        (part(slice(0, len(data.choose))), part(slice(len(data.choose), count)))
        if separate
        else (whole, whole)
    )
    return Bench(task, converted.rows, converted.answers, choose, test, train, data.labels)


def _without_truth(converted: Converted, part: Part, train: Samples | None, labels: tuple[str, ...]) -> Bench:
    """Return a bench where the source is right by definition: its answers, or its values, are the truth."""
    first = converted.answers[0]
    if labels and len(labels) != first.shape[-1]:
        raise DataError(f"there are {len(labels)} labels, but the model has {first.shape[-1]} outputs")
    if first.ndim == 2 and are_class_shares(first):
        return Bench("unlabelled", converted.rows, converted.answers, part, part, train, labels)
    known = Part(part.rows, first)
    return Bench("values", converted.rows, converted.answers, known, known, train, labels)


def _joined(choose: Split, test: Split, name: str) -> Array | None:
    if (choose.truth is None) != (test.truth is None):
        here, gone = (choose, test) if test.truth is None else (test, choose)
        raise DataError(f"{name}: {here.truth_name} is there, {gone.truth_name} is not: give both or neither")
    if choose is test or choose.truth is None or test.truth is None:
        return test.truth
    return np.concatenate([choose.truth, test.truth])
