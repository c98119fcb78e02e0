"""What a model that is fine-tuned learns: its own answers from before, mixed with the truth. Pure numpy.

task        own answers                       form           wanted
----------  --------------------------------  -------------  ------------------------------------
classes     shares (their sum is 1)           classes        a mix of shares and the right class
            any numbers                       class_logits   a mix of softmax and the right class
binary      all from 0 to 1                   binary         a mix of chance and truth
            any numbers                       binary_logits  a mix of sigmoid and truth
values      any                               values         a mix of value and truth
unlabelled  shares                            classes        the shares
            any numbers                       values         the values
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from converter.task import Task, truth_for

Array = npt.NDArray[Any]
Form = Literal["classes", "class_logits", "binary", "binary_logits", "values"]

#: How much of what is learned is the model's own answer. None, .3, .7 and all of it measured the same
#: within noise where there is truth; most of it is the choice that needs no trust in labels.
OWN_SHARE: Final = 0.7


@dataclass(frozen=True)
class Lesson:
    """`wanted` is float32 in the shape of the model's answers, `form` says how a loss compares them."""

    form: Form
    wanted: Array


def lesson(own: Array, task: Task, truth: Array | None) -> Lesson:
    """Return what an output is to learn that answered `own` [n, ...] to rows with `truth` (None: not known).

    Raises DataError when the truth does not fit the answers.
    """
    if truth is None or task == "unlabelled":
        return Lesson("classes" if _are_shares(own) else "values", own)
    right = truth_for(task, truth, own, "y_train", ())
    if task == "classes":
        known = _are_shares(own)
        mixed = _mix(own if known else _softmax(own), np.eye(own.shape[-1])[right].reshape(own.shape))
        return Lesson("classes" if known else "class_logits", mixed)
    if task == "binary":
        known = _are_chances(own)
        mixed = _mix(own if known else 1 / (1 + np.exp(-own)), right.reshape(own.shape))
        return Lesson("binary" if known else "binary_logits", mixed)
    return Lesson("values", _mix(own, right))


def _mix(own: Array, right: Array) -> Array:
    return (OWN_SHARE * own + (1 - OWN_SHARE) * right).astype(np.float32)


def _are_chances(own: Array) -> bool:
    return bool((own >= 0).all() and (own <= 1).all())


def _are_shares(own: Array) -> bool:
    many = own.ndim > 1 and own.shape[-1] > 1
    return many and _are_chances(own) and bool(np.allclose(own.sum(axis=-1), 1, atol=1e-3))


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax: Array = shares / shares.sum(axis=-1, keepdims=True)
    return softmax
