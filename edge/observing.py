"""What is done with each answer besides handing it on: remembered for its truth, sampled, looked at.

On the control thread, from the queues of results: what these had to drop is not seen here, and told to the
sampler. How many answers there were of each class is counted elsewhere, over all (edge/meter.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from edge.recorder import Recorder
from edge.remembered import Answered, Remembered, TruthError
from edge.results import Result
from edge.sampling import Sampler
from edge.scored import Scored, Scorer
from wire.messages import Samples, Truths

log = logging.getLogger(__name__)


class Statistics(Protocol):
    """What counts the inputs of answers (edge/input_statistics.py)."""

    def offer(self, answers: list[Scored]) -> None: ...


class Store(Protocol):
    """Keeps answers that were sent as samples over a restart (edge/adapters/answer_store.py)."""

    @property
    def unsaved(self) -> int: ...

    def save(self, kept: Sequence[tuple[str, Answered]], gone: Iterable[str]) -> None: ...


class Observing:
    """Lives on the control thread; `remembered` is shared with who takes feedback."""

    def __init__(
        self,
        recorder: Recorder,
        sampler: Sampler,
        remembered: Remembered,
        statistics: Statistics | None = None,
        store: Store | None = None,
    ) -> None:
        self._recorder = recorder
        self._sampler = sampler
        self._remembered = remembered
        self._statistics = statistics
        self._store = store
        self._scorer = Scorer()

    @property
    def thinned(self) -> int:
        """Samples since boot that were picked, and had no room."""
        return self._sampler.thinned

    @property
    def unsaved(self) -> int:
        """Samples since boot that a failing disk did not take."""
        return 0 if self._store is None else self._store.unsaved

    def refused(self, cause: str) -> int:
        """How many truths since boot did not count, for `unknown` or `unfit`."""
        return self._remembered.refused[cause]

    def look(self, results: list[Result], observed: list[Result], missed: int) -> None:
        """Take note of answers: of a source, of HTTP (which remembers its own), and that some were missed."""
        own = self._scorer.score(results)
        for one in own:
            self._remember(one)
        answers = [*own, *self._scorer.score(observed)]
        self._sampler.missed(missed)
        self._sampler.offer(answers)
        if self._statistics is not None:
            self._statistics.offer(answers)

    def cut(self, budget_bytes: int) -> Iterator[Samples]:
        """Yield the samples since the last cut; they wait longer for their truth than the others.

        What was judged until now is forgotten on the disk before it is reported: it counts once, at most.
        """
        kept = []
        for samples in self._sampler.cut(budget_bytes):
            for identity in samples.ids:
                answered = self._remembered.sampled(identity)
                if answered is not None and len(answered[1]) == 1:
                    kept.append((identity, answered))
            yield samples
        gone = self._remembered.take_judged()
        if self._store is not None:
            self._store.save(kept, gone)

    def judge(self, truths: Truths) -> None:
        """Count what was right, for each answer that waits for it; the rest is counted as refused."""
        for identity, truth in zip(truths.ids, truths.truths, strict=True):
            try:
                judgement = self._remembered.judge(identity, [truth])
            except TruthError as error:
                if self._remembered.refused[error.cause] == 1:
                    log.warning("%s (further ones are only counted)", error)
                continue
            self._recorder.judged(judgement)

    def _remember(self, one: Scored) -> None:
        prediction, sample = one.result.prediction, one.result.sample
        if one.classes and sample.truth is None:  # whose truth is known is counted already
            said = (one.said,), (one.confidence,)
            answered = (prediction.release, *said, prediction.labels, one.classes, sample.tags)
            self._remembered.remember(sample.id, answered)
