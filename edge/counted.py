"""A program's own counts of its answers: what an agent reports, without an agent.

    from edge import Counted, open_bundle

    with open_bundle("digits.bundle") as runtime:
        counted = Counted(runtime)
        counted.predict(image, id="part-17")
        counted.feedback("part-17", "seven")
        for counters in counted.take():
            print(counters.release, counters.correct, "of", counters.labelled)

Any thread may call any of it.
"""

from __future__ import annotations

from typing import Any

from edge.meter import Meter
from edge.prediction import Prediction
from edge.recorder import Recorder
from edge.remembered import ROWS, Remembered, TruthError
from edge.runtime import Runtime
from edge.scoring import Scoring, scoring_for
from edge.values import values_for
from wire.counters import ModelCounters
from wire.errors import DataError


class Counted:
    """Counts what a runtime answers through `predict`, and remembers the newest answers for their truth.

    All answers count under `tags` (`site=lab`), besides under their own.
    """

    def __init__(self, runtime: Runtime, *, tags: tuple[str, ...] = (), remembered: int = ROWS) -> None:
        self._runtime = runtime
        self._recorder = Recorder(tags)
        self._remembered = Remembered(remembered)
        self._models: dict[str, tuple[Meter, Scoring | None]] = {}

    def predict(self, inputs: Any, *, id: str | None = None, tags: tuple[str, ...] = ()) -> Prediction:
        """Answer one input as Runtime.predict does; with an `id`, its truth may be told later."""
        prediction = self._runtime.predict(inputs)
        meter, scoring = self._of(prediction)
        meter.pending.append(prediction.latency_ns)
        if meter.outputs is not None:
            meter.outputs.append(prediction.raw[0])
        if tags:
            meter.judged(None, prediction.raw[0], tags)
        if len(meter.pending) > meter.limit:
            meter.fold()
        if id is not None and scoring is not None:
            said, confidence = scoring.read_one(prediction.raw[0])
            answered = (prediction.release, (said,), (confidence,), prediction.labels, scoring.classes, tags)
            self._remembered.remember(id, answered)
        return prediction

    def feedback(self, id: str, truth: int | str) -> bool:
        """Say what was right, a class or its label; return whether the answer was that.

        Raises DataError for an id that does not wait (any more), and a class that the model does not have.
        """
        answered = self._remembered.find(id)
        labels = answered[3] if answered else ()
        if isinstance(truth, str) and answered and truth not in labels:
            raise DataError(
                f"truth {truth!r} is not one of {', '.join(labels[:10]) or 'the labels: it has none'}"
            )
        number = labels.index(truth) if isinstance(truth, str) and truth in labels else truth
        try:
            judgement = self._remembered.judge(id, [int(number) if answered else 0])
        except TruthError as error:
            raise DataError(str(error)) from error
        self._recorder.judged(judgement)
        return judgement.correct == 1

    def take(self) -> tuple[ModelCounters, ...]:
        """Return what was counted since the last time, by release; see wire/counters.py."""
        return self._recorder.cut()

    def _of(self, prediction: Prediction) -> tuple[Meter, Scoring | None]:
        """Return what counts the answers of the model that gave this one, and how they are read."""
        found = self._models.get(prediction.release)
        if found is None:
            scoring = scoring_for(prediction[0].outputs, prediction.manifest)
            found = self._recorder.meter(prediction.release), scoring
            found[0].count_answers(scoring, values_for(prediction[0].outputs, prediction.manifest))
            self._models[prediction.release] = found
        return found
