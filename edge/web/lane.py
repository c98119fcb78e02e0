"""How calls reach one runtime: at once, on another thread, or gathered into a batch.

Rules:
- nothing of a model outlives a call: the runtime's model may be another one at the next;
- a short call runs on the event loop and never waits there: if no interpreter is free, it goes the
  way of the long ones;
- what fails in a batch is asked again row by row: one client's input fails no other's;
- a call that is given up before its turn lets go of its arrays at once, and costs nothing later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge.backend import Array
from edge.runtime import LoadedModel, Prediction, Predictions, Runtime
from edge.web.admission import Limits
from edge.web.arrays import accepts_rows
from edge.web.batching import Batching, Gathering, Kind, kind_of, stack
from edge.web.pace import Pace
from edge.web.plan import Observe, Plan
from edge.web.question import Question
from edge.web.reply import HttpError
from edge.web.shelf import Place
from wire.deadline import Clock
from wire.errors import BusyError, InputError, ModelError

log = logging.getLogger(__name__)

Answer = Prediction | Predictions
Job = Callable[[], Answer]


class Workers(Protocol):
    """Threads that run jobs for an event loop."""

    def submit(self, job: Job) -> asyncio.Future[Answer]:
        """Run `job` soon; its result arrives on the running loop. A cancelled future frees the job."""

    @property
    def idle(self) -> bool:
        """Whether no job is waiting or running."""

    @property
    def backlog(self) -> int:
        """Jobs that no thread has taken up yet."""

    def close(self) -> None:
        """End the threads after the jobs they are in."""


#: Makes as many threads as there are interpreters.
MakeWorkers = Callable[[int], Workers]

_Row = tuple[Mapping[str, Array], "asyncio.Future[Prediction]"]


class Lane:
    """The way to one runtime. Lives on one event loop."""

    def __init__(
        self,
        runtime: Runtime,
        make_workers: MakeWorkers,
        clock: Clock,
        batching: Batching | None,
        limits: Limits,
        *,
        observe: Observe | None = None,
    ) -> None:
        self._runtime = runtime
        self._make_workers = make_workers
        self._clock = clock
        self._batching = batching
        self._limits = limits
        self._observe = observe
        self._plan: Plan | None = None
        self._pace = Pace()
        self._workers: Workers | None = None
        self._unresizable: LoadedModel | None = None
        self._batches: set[asyncio.Task[None]] = set()
        self._gathering: Gathering[_Row] = Gathering(batching.rows if batching else 1)

    def plan_for(self, place: Place) -> Plan:
        """Return the plan of the model that serves now; raise HttpError 503 or 501 for one that cannot."""
        model = self._runtime.model
        plan = self._plan
        if plan is None or plan.model is not model:
            model = place.model()
            if model.stateful:
                text = f"{place.name} keeps state between calls: it answers streams, not requests"
                raise HttpError(501, text, reason="bad")
            plan = self._plan = Plan(place.name, model, self._limits.rows, self._observe)
        return plan

    def is_short(self, plan: Plan | None) -> bool:
        """Tell whether one row is expected to be answered at once."""
        return plan is not None and self._batching is None and self._pace.is_short(plan.model, 1)

    def ask_now(self, question: Question, model: LoadedModel) -> Answer | None:
        """Answer at once; None if it would take long, or no interpreter is free. Raises as `ask`."""
        if not self._pace.is_short(model, question.rows) or self._batching is not None or question.signature:
            return None
        # While none of our threads is in the model, at most an agent's own short call has to be waited for.
        wait_s = None if self._workers is None or self._workers.idle else 0.0
        try:
            return self._run(question.values, question.rows, None, model, wait_s)
        except BusyError:  # whoever has the interpreter is on another thread: wait for it there
            return None

    def ask_plain(self, values: Array, model: LoadedModel) -> Prediction | None:
        """Answer the only input of one row at once; None as `ask_now`."""
        if self._batching is not None or not self._pace.is_short(model, 1):
            return None
        if self._workers is not None and not self._workers.idle:
            return None
        answer = self._runtime.predict(values)
        self._pace.observe(model, answer.latency_ns, 1)
        return answer

    def serves(self, plan: Plan) -> bool:
        """Tell whether the model of a plan still serves."""
        return self._runtime.model is plan.model

    async def ask(self, question: Question, model: LoadedModel, due_s: float) -> Answer:
        """Answer a question that was decoded for `model`, until `due_s` on the clock.

        Raises HttpError, InputError, BusyError or ModelError.
        """
        if (
            self._batching
            and question.rows == 1
            and not question.signature
            and accepts_rows(model.inputs, model.outputs)
        ):
            return await self._ask_together(question.values, model, due_s)
        return await self._elsewhere(question.values, question.rows, question.signature, model, due_s)

    def close(self) -> None:
        """End the threads."""
        if self._workers is not None:
            self._workers.close()

    def _run(
        self,
        values: Mapping[str, Array],
        rows: int,
        signature: str | None,
        model: LoadedModel,
        wait_s: float | None,
    ) -> Answer:
        inputs: Any = next(iter(values.values())) if len(values) == 1 and signature is None else values
        if rows > 1:
            answers = self._runtime.predict_batch(inputs, timeout_s=wait_s)
            self._pace.observe(model, answers.latency_ns, rows)
            return answers
        if wait_s is None:
            answer = self._runtime.predict(inputs)  # the shortest of its ways
        else:
            answer = self._runtime.predict(inputs, timeout_s=wait_s, signature=signature)
        self._pace.observe(model, answer.latency_ns, 1)
        return answer

    async def _elsewhere(
        self, values: Mapping[str, Array], rows: int, signature: str | None, model: LoadedModel, due_s: float
    ) -> Answer:
        return await self._submit(
            lambda: self._run(values, rows, signature, model, max(0.0, due_s - self._clock())), model
        )

    def _submit(self, job: Job, model: LoadedModel) -> asyncio.Future[Answer]:
        if self._workers is None:
            self._workers = self._make_workers(model.pool)
        if self._workers.backlog >= self._limits.in_flight:
            raise HttpError(429, "too many requests wait for the model", reason="busy", retry_after_s=1)
        return self._workers.submit(job)

    # --- together -----------------------------------------------------------------------------

    async def _ask_together(
        self, values: Mapping[str, Array], model: LoadedModel, due_s: float
    ) -> Prediction:
        assert self._batching is not None
        loop = asyncio.get_running_loop()
        kind = kind_of(values)
        future: asyncio.Future[Prediction] = loop.create_future()
        waiting, full = self._gathering.add(kind, (values, future))
        if full is not None:
            self._start(full, model, due_s)
        elif waiting == 1:
            loop.call_later(self._batching.wait_s, self._time_is_up, kind, model, due_s)
        return await future

    def _time_is_up(self, kind: Kind, model: LoadedModel, due_s: float) -> None:
        rows = self._gathering.take(kind)
        if rows:
            self._start(rows, model, due_s)

    def _start(self, rows: list[_Row], model: LoadedModel, due_s: float) -> None:
        """Answer a batch in a task of its own: the request that filled it may be given up."""
        task = asyncio.ensure_future(self._answer_together(rows, model, due_s))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _answer_together(self, rows: list[_Row], model: LoadedModel, due_s: float) -> None:
        try:
            answers = await self._run_together([values for values, _ in rows], model, due_s)
        except (InputError, ModelError):
            await self._answer_singly(rows, model, due_s)
            return
        except Exception as error:  # whoever asked raises it
            for _, future in rows:
                if not future.done():
                    future.set_exception(error)
            return
        for row, (_, future) in enumerate(rows):
            if not future.done():
                future.set_result(answers[row])

    async def _answer_singly(self, rows: list[_Row], model: LoadedModel, due_s: float) -> None:
        for values, future in rows:
            if future.done():
                continue
            try:
                answer = await self._elsewhere(values, 1, None, model, due_s)
            except Exception as error:  # whoever asked raises it
                if not future.done():
                    future.set_exception(error)
                continue
            assert isinstance(answer, Prediction)
            if not future.done():
                future.set_result(answer)

    async def _run_together(
        self, values: list[Mapping[str, Array]], model: LoadedModel, due_s: float
    ) -> Predictions:
        assert self._batching is not None
        rows = self._batching.rows

        def run(wait_s: float) -> Predictions:
            answers = self._run_rows(values, rows, model, wait_s)
            self._pace.observe(model, answers.latency_ns, len(answers))
            return answers

        if self._pace.is_short(model, len(values)):
            try:
                return run(0.0)
            except BusyError:
                pass
        answers = await self._submit(lambda: run(max(0.0, due_s - self._clock())), model)
        assert isinstance(answers, Predictions)
        return answers

    def _run_rows(
        self, values: list[Mapping[str, Array]], rows: int, model: LoadedModel, wait_s: float
    ) -> Predictions:
        """Run a batch at once; row by row if the model cannot be resized.

        A refusal is the model's if the same rows are taken one by one, and the caller's if not.
        """
        if self._unresizable is not model:
            try:
                return self._runtime.predict_batch(
                    _inputs(values, rows), resize=True, timeout_s=wait_s, asked=len(values)
                )
            except InputError as error:
                answers = self._runtime.predict_batch(_inputs(values, len(values)), timeout_s=wait_s)
                log.warning("%s runs row by row: %s", model.release, error)
                self._unresizable = model
                return answers
        return self._runtime.predict_batch(_inputs(values, len(values)), timeout_s=wait_s)


def _inputs(values: list[Mapping[str, Array]], rows: int) -> Any:
    stacked = stack(values, rows)
    return next(iter(stacked.values())) if len(stacked) == 1 else stacked
