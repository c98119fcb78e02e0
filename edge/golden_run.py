"""A self-test: the golden set on the model that serves, one call at a time, between the calls of others.

Rules:
- each step takes one interpreter for one call, so no caller waits for more than that;
- every interpreter of a pool answers every row, as far as it comes by: a pool may have one that is ill;
- a model that is closed meanwhile (another serves) ends the run without a word about it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from edge.backend import Array
from edge.golden import GoldenSet, Verdict, judge_all
from edge.loaded import LoadedModel, ModelClosedError
from edge.rows import join
from wire.errors import BusyError, InputError, ModelError
from wire.manifest import Golden

#: So many steps in a row may find all interpreters busy: 5 s.
_BUSY_STEPS: Final = 50

#: So often an interpreter is asked for, for each of the pool and each row: callers mix up their order.
_TRIES_FOR_EACH: Final = 8


class GoldenRun:
    """One run. Call `step` until it returns a verdict."""

    def __init__(
        self, model: LoadedModel, golden: GoldenSet, allowed: Golden, rows: int | None = None
    ) -> None:
        self._model = model
        self._allowed = allowed
        self._expected = tuple(values[:rows] for values in golden.expected)
        columns = zip(*(values[:rows] for values in golden.inputs), strict=True)
        self._rows: list[Any] = [list(row) if len(row) > 1 else row[0] for row in columns]
        self._row = 0
        self._tries = 0
        self._busy = 0
        #: By interpreter: the rows that it has answered, and what.
        self._answers: dict[int, dict[int, tuple[Array, ...]]] = defaultdict(dict)

    @property
    def release(self) -> str:
        return self._model.release

    def step(self, timeout_s: float) -> Verdict | None:
        """Make one call at most, waiting `timeout_s` for an interpreter; return the verdict at the end."""
        if self._row >= len(self._rows):
            return self._judge()
        answered = [key for key, rows in self._answers.items() if self._row in rows]
        try:
            key, prediction = self._model.probe(self._rows[self._row], answered, timeout_s=timeout_s)
        except ModelClosedError as error:
            return Verdict(False, f"{error} is closed", conclusive=False)
        except BusyError as error:  # or a call that never ends
            self._busy += 1
            return Verdict(False, str(error), conclusive=False) if self._busy >= _BUSY_STEPS else None
        except (ModelError, InputError) as error:
            return Verdict(False, str(error))
        self._busy = 0
        if prediction is not None:
            self._answers[key][self._row] = tuple(prediction.outputs.values())
        self._tries += 1
        if len(answered) + (prediction is not None) >= self._model.pool or self._tries >= self._most_tries:
            self._row, self._tries = self._row + 1, 0
        return None if self._row < len(self._rows) else self._judge()

    @property
    def _most_tries(self) -> int:
        return _TRIES_FOR_EACH * self._model.pool

    def _judge(self) -> Verdict:
        verdict = Verdict(False, "no interpreter could be asked", conclusive=False)
        for answers in self._answers.values():
            rows = sorted(answers)
            outputs = join([answers[row] for row in rows], self._model.outputs)
            expected = tuple(values[rows] for values in self._expected)
            verdict = judge_all(expected, outputs, self._allowed)
            if not verdict.passed:
                break
        return verdict
