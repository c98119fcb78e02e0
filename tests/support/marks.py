"""Evaluations with stated errors, for tests of what is decided on them."""

from __future__ import annotations

import numpy as np

from converter.evaluation import Evaluation, evaluate


def marks(wrong: dict[int, int], *, classes: int = 4, each: int = 100) -> Evaluation:
    """Return the marks of a model that errs on the first `wrong[c]` samples of class c.

    They are against a model that never errs.
    """
    truth = np.repeat(np.arange(classes), each)
    answers = truth.copy()
    for number, count in wrong.items():
        answers[number * each : number * each + count] = (number + 1) % classes
    return evaluate(np.eye(classes)[answers], np.eye(classes)[truth], truth, "classes")
