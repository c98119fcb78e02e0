"""Measures calls of a model on this machine: threads inside the interpreter, interpreters side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from edge.adapters.tflite import make_loader
from edge.backend import INTERPRETER_ERRORS, Interpreter
from edge.checkup.tune import Measured
from wire.deadline import Deadline
from wire.errors import ModelError

_WARM_UP_CALLS: Final = 3
_FEWEST_CALLS: Final = 3
_MOST_CALLS: Final = 200_000  # a model of 2 us; 1.6 MB of times
_LONGEST_PART_S: Final = 4.0


class Stopwatch:
    """Measures within a budget: `measure` returns None once it is spent.

    `parts` is how many measurements share the budget, loading included; each takes `part_s` at least.
    """

    def __init__(
        self, model: Path, backend: str, budget_s: float, parts: int, told: Callable[[int, int], None]
    ) -> None:
        self._model = model
        self._backend = backend
        self._part_s = min(_LONGEST_PART_S, budget_s / max(1, parts))
        self._deadline = Deadline.after(budget_s)
        self._told = told

    def measure(self, threads: int, pool: int) -> Measured | None:
        """Measure `pool` callers, each with an interpreter of `threads` threads; raise ModelError."""
        if self._deadline.passed:
            return None
        self._told(threads, pool)
        loader = make_loader(self._backend, threads=threads)
        interpreters = [loader(self._model) for _ in range(pool)]
        try:
            for interpreter in interpreters:
                _fill(interpreter)
                _call(interpreter, _WARM_UP_CALLS)
            return _timed(interpreters, threads, self._part_s)
        finally:
            for interpreter in interpreters:
                interpreter.close()


def _fill(interpreter: Interpreter) -> None:
    """Give floats some numbers; whole ones stay 0, which is an index into anything."""
    numbers = np.random.default_rng(0)
    for position, tensor in enumerate(interpreter.inputs):
        if tensor.dtype.kind == "f":
            interpreter.input_view(position)[...] = numbers.random(tensor.shape)


def _call(interpreter: Interpreter, calls: int) -> None:
    try:
        for _ in range(calls):
            interpreter.invoke()
    except INTERPRETER_ERRORS as error:
        raise ModelError(f"the model fails on numbers from 0 to 1: {' '.join(str(error).split())}") from error


def _timed(interpreters: list[Interpreter], threads: int, part_s: float) -> Measured:
    times: list[list[int]] = [[] for _ in interpreters]
    gate = threading.Barrier(len(interpreters) + 1)
    workers = [
        threading.Thread(target=_repeat, args=(interpreter, into, part_s, gate), daemon=True)
        for interpreter, into in zip(interpreters, times, strict=True)
    ]
    for worker in workers:
        worker.start()
    gate.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    wall_s = time.perf_counter() - start
    merged = np.array([one for series in times for one in series], np.float64) / 1e3
    if not len(merged):
        raise ModelError("the model failed while it was measured")
    p50_us, p99_us = (float(x) for x in np.percentile(merged, (50, 99)))
    facts = interpreters[0].facts
    return Measured(
        threads, len(interpreters), len(merged), p50_us, p99_us, len(merged) / wall_s,
        facts.operators, facts.delegated,
    )  # fmt: skip


def _repeat(interpreter: Interpreter, into: list[int], part_s: float, gate: threading.Barrier) -> None:
    invoke, read = interpreter.invoke, interpreter.reader(0)
    clock, add = time.perf_counter_ns, into.append
    gate.wait()
    end = clock() + int(part_s * 1e9)
    try:
        while (before := clock()) < end or len(into) < _FEWEST_CALLS:
            invoke()
            read()
            add(clock() - before)
            if len(into) >= _MOST_CALLS:
                return
    except INTERPRETER_ERRORS:  # told by the number of times
        into.clear()
