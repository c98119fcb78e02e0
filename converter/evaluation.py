"""How well a model answers, and what it answers differently from the model that it was made from.

Accuracy alone hides damage: a quantized model can be as accurate as before with 7 % of its answers
changed, or pay for its size with one class. So every class has its own figures, and right answers
that became wrong are counted apart from wrong ones that became right: on the same samples, that
pair tells a loss of half a point from noise when two accuracies cannot. Pure numpy.

A *score* is the one figure that budgets speak of, and a *point* a hundredth of it: the accuracy of a
classification; of a regression one minus its root mean square error in standard deviations of the
target. (R² will not do: near 1, half a point of it can be twice the error.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from converter.task import Task

Array = npt.NDArray[Any]

#: Bins of confidence for the calibration error, as in Guo et al. 2017, "On Calibration of Modern
#: Neural Networks".
_BINS: Final = 15
_ROWS_SUM_TO_ONE: Final = 0.02
_LEAST_SPREAD: Final = 1e-10


@dataclass(frozen=True)
class ClassMarks:
    """A classification; shares are 0 to 1, and None stands for a class that the data lacks.

    `recalls`, `precisions` and `f1s` have one entry for each class, `members` the samples of each.
    `calibration_error` is the expected calibration error: by how much confidence and accuracy
    differ, on average. `newly_wrong` and `newly_right` count the samples whose correctness changed
    against the reference, `mcnemar_p` is the chance of a split that uneven if nothing got worse or
    better (exact binomial McNemar test, two-sided).
    """

    accuracy: float
    recalls: tuple[float | None, ...]
    precisions: tuple[float | None, ...]
    f1s: tuple[float | None, ...]
    members: tuple[int, ...]
    calibration_error: float
    newly_wrong: int
    newly_right: int
    mcnemar_p: float

    @property
    def worst_recall(self) -> float:
        """The lowest recall of the classes that the data has."""
        return min(recall for recall in self.recalls if recall is not None)

    @property
    def macro_recall(self) -> float:
        return _mean(self.recalls)

    @property
    def macro_precision(self) -> float:
        return _mean(self.precisions)

    @property
    def macro_f1(self) -> float:
        return _mean(self.f1s)


@dataclass(frozen=True)
class ValueMarks:
    """A regression: mean absolute and root mean square error in the target's unit, and R² (at most 1).

    Of several targets, `r2` is the lowest of any one: a large one must not hide what a small one lost.
    """

    mae: float
    rmse: float
    r2: float

    @property
    def fit(self) -> float:
        """One minus the root mean square error in standard deviations of the target."""
        return 1.0 - math.sqrt(max(0.0, 1.0 - self.r2))


@dataclass(frozen=True)
class Evaluation:
    """One model on `count` samples, against the truth and against the reference it was made from.

    `agreement` is the share of samples with the reference's answer (None for a regression);
    `largest_difference` and `mean_difference` are absolute ones of any output from the reference's.
    `classes` or `values` is set by the task; neither is when nothing is known to be true. These are
    about the first output; `others_fit` is the worst fit of any other to the reference's.
    """

    count: int
    agreement: float | None
    largest_difference: float
    mean_difference: float
    classes: ClassMarks | None = None
    values: ValueMarks | None = None
    others_fit: float = 1.0

    @property
    def score(self) -> float | None:
        """The accuracy or the regression's fit; the agreement where no truth is known."""
        if self.classes is not None:
            return self.classes.accuracy
        if self.values is not None:
            return self.values.fit
        return self.agreement


@dataclass(frozen=True)
class Latency:
    """Single calls on this machine, one thread, in microseconds. A board's are others."""

    median_us: float
    p99_us: float


@dataclass(frozen=True)
class RecallDrop:
    """The class whose recall fell most, by how much (0 to 1; negative when all rose), of how many samples."""

    position: int
    drop: float
    members: int


def evaluate(outputs: Array, reference: Array, truth: Array | None, task: Task) -> Evaluation:
    """Compare `outputs` with `reference` (both [n, ...]) and with `truth`, as `task.truth_for` gives it.

    `classes`: class numbers int64 [n], the last axis of the outputs holds the classes; `binary`:
    0 or 1 [n] and one output; `values`: float32 of the outputs' shape; `unlabelled`: None.
    """
    difference = np.abs(outputs.astype(np.float64) - reference)
    largest, mean = (float(difference.max()), float(difference.mean())) if difference.size else (0.0, 0.0)
    if task == "values":
        assert truth is not None
        return Evaluation(len(outputs), None, largest, mean, values=value_marks(outputs, truth))
    if task == "binary" and truth is not None:
        outputs, reference = _around_zero(outputs, reference, truth)
    after, before = class_shares(outputs, reference), class_shares(reference, reference)
    agreement = None
    if after.shape[-1] > 1:
        agreement = float(np.mean(np.argmax(after, -1) == np.argmax(before, -1)))
    if task == "unlabelled" or truth is None:
        return Evaluation(len(outputs), agreement, largest, mean)
    marks = _class_marks(after, before, truth.ravel())
    return Evaluation(len(outputs), agreement, largest, mean, classes=marks)


def class_shares(outputs: Array, reference: Array) -> Array:
    """Return outputs [n, ..., classes] as shares [samples, classes] that sum to 1 a row.

    A single output is a sigmoid's and gets a second column; logits go through a softmax, which
    changes no answer and makes confidences comparable. What the numbers are is told from the
    `reference`: rounding must not turn shares into logits.
    """
    rows, known = _rows(outputs), _rows(reference)
    if rows.shape[1] == 1:
        share = np.clip(rows, 0.0, 1.0) if _are_shares(known) else _sigmoid(rows)
        return np.hstack([1.0 - share, share])
    if are_class_shares(reference):
        return rows
    stretched = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Array = stretched / stretched.sum(axis=1, keepdims=True)
    return shares


def are_class_shares(outputs: Array) -> bool:
    """Tell whether outputs [n, ..., classes] are shares of several classes, as a softmax gives them."""
    rows = _rows(outputs)
    return (
        rows.shape[1] > 1
        and _are_shares(rows)
        and bool((np.abs(rows.sum(axis=1) - 1) < _ROWS_SUM_TO_ONE).all())
    )


def largest_recall_drop(before: ClassMarks, after: ClassMarks) -> RecallDrop:
    """Return which class lost most recall from `before` to `after`."""
    drops = [
        RecallDrop(position, old - new, members)
        for position, (old, new, members) in enumerate(
            zip(before.recalls, after.recalls, after.members, strict=True)
        )
        if old is not None and new is not None
    ]
    return max(drops, key=lambda found: found.drop)


def mcnemar(newly_wrong: int, newly_right: int) -> float:
    """Return the two-sided p of the exact McNemar test: a fair coin on the samples that changed.

    McNemar 1947; the exact form, since counts here are small.
    """
    changed, fewer = newly_wrong + newly_right, min(newly_wrong, newly_right)
    if not changed:
        return 1.0
    # Logarithms: 2**changed leaves the floats at 1,024 changed answers.
    log_half = math.log(0.5) * changed
    tail = sum(math.exp(_log_choose(changed, k) + log_half) for k in range(fewer + 1))
    return min(1.0, 2.0 * tail)


def _class_marks(after: Array, before: Array, truth: Array) -> ClassMarks:
    classes = after.shape[-1]
    answers = np.argmax(after, -1)
    right, was_right = answers == truth, np.argmax(before, -1) == truth
    members = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth[right], minlength=classes)
    named = np.bincount(answers, minlength=classes)
    wrong, gained = int(np.sum(was_right & ~right)), int(np.sum(right & ~was_right))
    return ClassMarks(
        accuracy=float(np.mean(right)),
        recalls=tuple(_ratio(h, m) for h, m in zip(hits, members, strict=True)),
        # A class that is never named has no precision of its own: 0, as for one always named wrongly.
        precisions=tuple(
            _ratio(h, max(n, 1)) if m else None for h, n, m in zip(hits, named, members, strict=True)
        ),
        f1s=tuple(_ratio(2 * h, n + m) if m else None for h, n, m in zip(hits, named, members, strict=True)),
        members=tuple(int(m) for m in members),
        calibration_error=_calibration_error(np.max(after, -1), right),
        newly_wrong=wrong,
        newly_right=gained,
        mcnemar_p=mcnemar(wrong, gained),
    )


def _calibration_error(confidence: Array, right: Array) -> float:
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    sums = np.bincount(bins, weights=confidence, minlength=_BINS)
    hits = np.bincount(bins, weights=right.astype(np.float64), minlength=_BINS)
    return float(np.abs(sums - hits).sum() / len(confidence))


def value_marks(outputs: Array, truth: Array) -> ValueMarks:
    """Return the marks of a regression; `truth` has the shape of `outputs` or one with as many numbers."""
    wanted = truth.astype(np.float64)
    error = outputs.astype(np.float64).reshape(wanted.shape) - wanted
    # Targets side by side [n, k] are of different units; the positions of a picture are of one.
    columns = wanted.reshape(len(wanted), -1) if wanted.ndim <= 2 else wanted.reshape(-1, 1)
    residual = np.square(error.reshape(columns.shape)).mean(axis=0)
    spread = columns.var(axis=0)
    # A target that hardly changes has no variance to explain: its own size is the measure then.
    spread = np.where(
        spread > _LEAST_SPREAD * np.square(columns).mean(axis=0), spread, np.square(columns).mean(axis=0)
    )
    r2 = np.where(spread > 0, 1.0 - residual / np.where(spread > 0, spread, 1.0), residual == 0)
    return ValueMarks(float(np.abs(error).mean()), math.sqrt(float(np.square(error).mean())), float(r2.min()))


def _around_zero(outputs: Array, reference: Array, truth: Array) -> tuple[Array, Array]:
    """Move the numbers of a line through 0 and 1 so that, as of logits, those above 0 mean yes."""
    known = reference.ravel()
    if _are_shares(_rows(reference)):
        return outputs, reference
    by_half, by_zero = (np.mean((known > limit) == truth) for limit in (0.5, 0.0))
    shift = 0.5 if by_half > by_zero else 0.0
    return outputs - shift, reference - shift


def _rows(outputs: Array) -> Array:
    rows: Array = outputs.reshape(-1, outputs.shape[-1] if outputs.ndim > 1 else 1).astype(np.float64)
    return rows


def _are_shares(rows: Array) -> bool:
    return bool(rows.size) and rows.min() >= -_ROWS_SUM_TO_ONE and rows.max() <= 1 + _ROWS_SUM_TO_ONE


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(shares: tuple[float | None, ...]) -> float:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else 0.0


def _sigmoid(rows: Array) -> Array:
    share: Array = 1.0 / (1.0 + np.exp(-np.clip(rows, -60.0, 60.0)))
    return share


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
