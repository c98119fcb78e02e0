"""What was right, as a client says it: a document in, a judgement of a remembered prediction out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from edge.remembered import Answered, Judgement, Remembered, TruthError
from edge.runtime import Prediction, Predictions
from edge.scoring import Scoring
from edge.web.question import shown
from edge.web.reply import bad_request, not_found
from wire.scores import CLASS_TASKS

__all__ = ["Feedback", "Judgement", "OnJudgement", "said"]

_HALF: Final = 0.5
_UNKNOWN: Final = float("nan")


class Feedback:
    """Takes truths for the answers in `remembered`."""

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered

    def judge(self, document: Any) -> Judgement:
        """Take in `{"id": …, "truth": …}`: a class or its label, or a list of them, one for each row.

        Raises HttpError 400 for what cannot be understood and 404 for an id that is not waiting.
        """
        if (
            document.__class__ is not dict
            or document.get("id").__class__ is not str
            or "truth" not in document
        ):
            raise bad_request('feedback is {"id": "…", "truth": class, label, or a list of them}')
        truths = document["truth"] if document["truth"].__class__ is list else [document["truth"]]
        answered = self._remembered.find(document["id"])
        labels, classes = answered[3:5] if answered else ((), 0)
        right = [_class(truth, labels, classes) for truth in truths] if answered else []
        try:
            return self._remembered.judge(document["id"], right)
        except TruthError as error:
            raise (not_found if error.cause == "unknown" else bad_request)(str(error)) from error


def said(
    release: str,
    answer: Prediction | Predictions,
    task: str,
    labels: tuple[str, ...],
    classes: int,
    *,
    scoring: Scoring | None = None,
    tags: tuple[str, ...] = (),
) -> Answered | None:
    """Return what to remember of an answer by `release`; None where no class can be right.

    With `scoring` its confidences are remembered too: for an agent, which reports them.
    """
    if task not in CLASS_TASKS:
        return None
    if scoring is not None:
        classes = max(classes, scoring.classes)
        if answer.__class__ is Prediction:  # cheaper than asking whether it is a sequence
            found, confidence = scoring.read_one(answer.raw[0])
            return (release, (found,), (confidence,), labels, classes, tags)
        best, confidences = scoring.read(answer.raw[0])
        return (release, tuple(best.tolist()), tuple(confidences.tolist()), labels, classes, tags)
    if task == "binary":
        first = next(iter(answer.outputs.values())).ravel()
        best = (first >= _HALF).astype(int)
    elif answer.__class__ is Prediction:
        return (release, (int(answer.best),), (_UNKNOWN,), labels, classes, tags)
    else:
        best = np.ravel(answer.best)
    return (release, tuple(best.tolist()), (_UNKNOWN,) * len(best), labels, classes, tags)


def _class(truth: Any, labels: tuple[str, ...], classes: int) -> int:
    if truth.__class__ is str and truth in labels:
        return labels.index(truth)
    if (truth.__class__ is bool or truth.__class__ is int) and 0 <= truth < classes:
        return int(truth)
    known = f"one of {', '.join(labels[:10])}" if labels else f"a class from 0 to {classes - 1}"
    raise bad_request(f"truth {shown(truth)} is not {known}")


#: Told about each judgement: how an agent counts it in its own reports.
OnJudgement = Callable[[Judgement], None]
