"""What a truth beside an input says, and how an answer compares with it. Pure.

Text and whole numbers are a label where the model has such a label, else a class number, from 0: the
same table means the same in CSV, where all is text, and in Parquet. As many numbers as there are classes
are one-hot. Nothing (an empty cell, NaN) is no truth, and the row is answered and not judged; so is one
whose truth says nothing that is known here, which is counted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge.batch.job import Score
from wire.errors import DataError


def class_number(raw: Any, labels: tuple[str, ...], classes: int) -> int | None:
    """Return the class that `raw` names, None for no truth; raise DataError for what is no class."""
    if isinstance(raw, np.ndarray) and raw.size == classes > 1:
        return int(np.argmax(raw))
    value = _plain(raw)
    if value is None:
        return None
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    number = _number(value)
    if number is not None and number.is_integer() and str(int(number)) in labels:
        return labels.index(str(int(number)))
    if number is None or not number.is_integer() or not 0 <= number < classes:
        wanted = f"a class from 0 to {classes - 1}" + (" or a label" if labels else "")
        raise DataError(f"the truth {str(value)[:40]!r} is not {wanted}")
    return int(number)


def real_number(raw: Any) -> float | None:
    """Return the value that `raw` names, None for no truth; raise DataError for what is no number."""
    value = _plain(raw)
    if value is None:
        return None
    number = _number(value)
    if number is None:
        raise DataError(f"the truth {str(value)[:40]!r} is no number")
    return number


def judge_class(best: int | None, truth: int | None) -> Score:
    """Return one row's share in the accuracy: an answer that is none is wrong."""
    return Score() if truth is None else Score(judged=1, right=int(best == truth))


def judge_value(value: float | None, truth: float | None) -> Score:
    """Return one row's share in the errors; an answer that is not finite is not judged."""
    if truth is None or value is None:
        return Score()
    off = abs(value - truth)
    return Score(judged=1, off=off, off_squared=off * off)


def verdict(score: Score, *, values: bool) -> str:
    """Return how good the answers were, in words; empty when nothing was judged."""
    odd = f"{score.odd:,} truths say nothing that the model knows" if score.odd else ""
    if not score.judged:
        return odd
    if values:
        mean, root = score.off / score.judged, math.sqrt(score.off_squared / score.judged)
        good = f"mean absolute error {mean:.4g}, root mean square {root:.4g}, of {score.judged:,} judged"
    else:
        good = f"accuracy {score.right / score.judged:.2%} of {score.judged:,} judged"
    return f"{good}, {odd}" if odd else good


def _plain(raw: Any) -> str | float | None:
    """Return a single value without numpy's clothes; None for an empty one."""
    if isinstance(raw, (np.ndarray, np.generic)):
        if raw.size != 1:
            raise DataError(f"the truth holds {raw.size} numbers for one row")
        raw = raw.item()
    if raw is None or (isinstance(raw, str) and not raw.strip()) or raw != raw:  # noqa: PLR0124  # NaN
        return None
    return raw.strip() if isinstance(raw, str) else raw


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
