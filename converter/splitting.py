"""Which rows calibrate, which decide and which the report is about. Pure.

Rules:
- rows that choose between candidates are no longer fair to report on: they are two halves of the
  test rows, unless validation rows are given;
- without test rows 30 % are held back. The model may have been trained on them, and the note says so;
- every class is shared out in proportion, and one of two samples or more is in both halves;
- the same data set is always divided in the same way;
- only whole rows are taken: neighbours in time that were cut into windows with overlap land on both
  sides, so such sets should come with test rows of their own;
- too few rows are not divided at all: half of ten would measure nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from converter.dataset import Array, Dataset, Split
from converter.parts import Parts, checked

_FEWEST_ROWS: Final = 20
#: Of ten rows in the order of their classes these three are held back.
_HELD_BACK: Final = (1, 4, 8)


def make_dataset(parts: Parts) -> Dataset:
    """Check `parts` and divide them into train, choose and test; raise DataError for what is wrong."""
    parts = checked(parts)
    if len(parts.splits) == 1:
        train, choose, test, note = _from_whole(next(iter(parts.splits.values())))
    else:
        train, choose, test, note = _from_parts(parts)
    notes = (*parts.notes, note) if note else parts.notes
    return Dataset(
        parts.name,
        train,
        choose,
        test,
        parts.labels,
        notes,
        preprocessing=parts.preprocessing,
        columns=parts.columns,
    )


def _from_parts(parts: Parts) -> tuple[Split, Split, Split, str]:
    train, val, test = (parts.splits.get(part) for part in ("train", "val", "test"))
    if val is not None and test is not None:
        if train is not None:
            return train, val, test, ""
        return val, val, test, "no training rows: the validation rows calibrate too"
    measured = test if test is not None else val
    assert train is not None
    assert measured is not None
    name = measured.input_name("")
    if len(measured) < _FEWEST_ROWS:
        note = f"{name} has fewer than {_FEWEST_ROWS} rows: the same ones choose and are reported on"
        return train, measured, measured, note
    choose, test = _halves(measured, _by_class(measured))
    return train, choose, test, ""


def _from_whole(whole: Split) -> tuple[Split, Split, Split, str]:
    count = len(whole)
    if count < _FEWEST_ROWS:
        note = f"fewer than {_FEWEST_ROWS} rows: the same ones calibrate, choose and are reported on"
        return whole, whole, whole, note
    order = _by_class(whole)
    held = np.isin(np.arange(count) % 10, _HELD_BACK)
    choose, test = _halves(whole, order[held])
    note = f"no test rows: {int(held.sum())} of {count} are held back to measure on"
    if whole.truth is not None and whole.part in ("", "train"):
        note += "; the model may have been trained on them, then its accuracy here flatters"
    return whole.rows(np.sort(order[~held])), choose, test, note


def _halves(split: Split, order: Array) -> tuple[Split, Split]:
    """Deal the rows out in turn, so that each class lands on both sides."""
    return split.rows(np.sort(order[0::2])), split.rows(np.sort(order[1::2]))


def _by_class(split: Split) -> Array:
    """Return the row numbers, class by class, shuffled within each."""
    # The old generator: its numbers are promised never to change, the new one's are not (NEP 19).
    shuffled = np.random.RandomState(0).permutation(len(split))
    ranked: Array = shuffled[np.argsort(_classes(split)[shuffled], kind="stable")]
    return ranked


def _classes(split: Split) -> Array:
    """Return what looks like the class of each row, zeros for truth of another kind.

    The model is not known yet. Whole numbers that come twice on average are as good as classes, and
    a regression's are spread more evenly for it.
    """
    truth, nothing = split.truth, np.zeros(len(split), np.int64)
    if truth is None:
        return nothing
    if truth.ndim == 2 and truth.shape[1] > 1:
        one_hot = np.isin(truth, (0, 1)).all() and (truth.sum(axis=1) == 1).all()
        return np.argmax(truth, axis=1) if one_hot else nothing
    if truth.size != len(truth):
        return nothing
    numbers = truth.reshape(-1)
    whole = np.array_equal(numbers, np.rint(numbers.astype(np.float64)))
    return numbers if whole and 2 * len(np.unique(numbers)) <= len(numbers) else nothing
