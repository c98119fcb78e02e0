"""What was right: predictions are remembered by their id until somebody says the truth. Pure.

Rules:
- the newest `limit` rows are remembered; an older one is forgotten, and its truth refused;
- an id that waits is not given to another prediction: a client could have it judged in its place;
- a truth counts once: a second one for the same prediction finds nothing;
- agreement is counted for the release that answered, also after another has taken its place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.runtime import Prediction, Predictions
from edge.web.question import shown
from edge.web.reply import bad_request, not_found

#: Tasks of which one can say whether an answer was right.
_JUDGED: Final = ("classes", "binary", "unlabelled")

_HALF: Final = 0.5


#: A prediction that waits for its truth: its release, what the model said to each row, the labels, the
#: number of classes. Plain
#: tuples of plain values are nothing to the garbage collector, which objects would keep busy.
Answered = tuple[str, tuple[int, ...], tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How many rows of a prediction were right."""

    release: str
    correct: int
    wrong: int


class Feedback:
    """Remembers a bounded number of predictions."""

    def __init__(self, limit: int = 4_000) -> None:
        self._limit = limit
        # In the order of the answers. A plain dict looks for its first key past all that were removed.
        self._waiting: OrderedDict[str, Answered] = OrderedDict()
        self._rows = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def remember(self, identity: str, answered: Answered) -> None:
        """Keep a prediction; the oldest ones are forgotten for it. One with the same id stays."""
        if identity in self._waiting:
            return
        self._waiting[identity] = answered
        self._rows += len(answered[1])
        while self._rows > self._limit and len(self._waiting) > 1:
            _, oldest = self._waiting.popitem(last=False)
            self._rows -= len(oldest[1])

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
        answered = self._waiting.get(document["id"])
        if answered is None:
            raise not_found(f"no prediction {document['id'][:128]!r}: too old, or its truth is known")
        truths = document["truth"] if document["truth"].__class__ is list else [document["truth"]]
        release, said, labels, classes = answered
        if len(truths) != len(said):
            raise bad_request(f"{len(truths)} truths for a prediction of {len(said)} rows")
        right = [_class(truth, labels, classes) for truth in truths]
        correct = sum(one == truth for one, truth in zip(said, right, strict=True))
        del self._waiting[document["id"]]
        self._rows -= len(right)
        return Judgement(release, correct, len(right) - correct)


def said(
    release: str, answer: Prediction | Predictions, task: str, labels: tuple[str, ...], classes: int
) -> Answered | None:
    """Return what to remember of an answer by `release`; None where no class can be right."""
    if task not in _JUDGED:
        return None
    if task != "binary" and answer.__class__ is Prediction:  # cheaper than asking whether it is a sequence
        return (release, (int(answer.best),), labels, classes)
    if task == "binary":
        first = next(iter(answer.outputs.values())).ravel()
        return (release, tuple((first >= _HALF).astype(int).tolist()), labels, classes)
    return (release, tuple(np.ravel(answer.best).tolist()), labels, classes)


def _class(truth: Any, labels: tuple[str, ...], classes: int) -> int:
    if truth.__class__ is str and truth in labels:
        return labels.index(truth)
    if (truth.__class__ is bool or truth.__class__ is int) and 0 <= truth < classes:
        return int(truth)
    known = f"one of {', '.join(labels[:10])}" if labels else f"a class from 0 to {classes - 1}"
    raise bad_request(f"truth {shown(truth)} is not {known}")


#: Told about each judgement: how an agent counts it in its own reports.
OnJudgement = Callable[[Judgement], None]
