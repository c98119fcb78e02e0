"""What it costs to count each answer: nanoseconds on the inference path, and at the fold. Prints JSON.

    python benchmarks/counting.py

The model is one operator on four int8 numbers, the smallest there is, so that nothing hides the cost.
`predict` with a meter that counts latencies alone, as a program's own runtime does, alternates with one
that counts answers too, as an agent's does; a control thread's fold is played every 1,000 calls outside the
timed block. `fold` is the time that thread takes for each answer, by the number of classes.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge.adapters.tflite import make_loader
from edge.backend import Tensor
from edge.loading import load
from edge.meter import Meter
from edge.runtime import Runtime
from edge.scoring import scoring_for
from tests.support.tiny_model import tiny_tflite

ROUNDS: Final = 200
CALLS: Final = 1000
CLASSES: Final = (2, 10, 100, 1000)


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tiny.tflite")
        path.write_bytes(tiny_tflite())
        bare, counting = _runtime(path, counts=False), _runtime(path, counts=True)
        pairs = [(_block_ns(bare), _block_ns(counting)) for _ in range(ROUNDS)]
    result = {
        "predict, latencies alone, ns": round(statistics.median(one for one, _ in pairs)),
        "predict, answers counted, ns": round(statistics.median(both for _, both in pairs)),
        "on the path for each answer, ns": round(statistics.median(both - one for one, both in pairs)),
        "fold for each answer, ns": {str(n): _fold_ns(n) for n in CLASSES},
    }
    print(json.dumps(result, indent=1))


def _runtime(path: Path, *, counts: bool) -> Runtime:
    runtime = Runtime()
    model = load("tiny/1", path, make_loader())
    if counts:
        model.meter.count_answers(scoring_for(model.outputs, None))
    runtime.swap(model)
    return runtime


def _block_ns(runtime: Runtime) -> float:
    """Return processor time for one call, over a block; what waits is folded afterwards."""
    predict, x = runtime.predict, np.zeros((1, 4), np.int8)
    start = time.thread_time_ns()
    for _ in range(CALLS):
        predict(x)
    took = time.thread_time_ns() - start
    assert runtime.model is not None
    runtime.model.meter.fold()
    return took / CALLS


def _fold_ns(classes: int) -> float:
    scores = np.random.default_rng(1).dirichlet(np.ones(classes), CALLS).astype(np.float32)
    meter = Meter()
    meter.count_answers(scoring_for((Tensor(0, "y", scores.dtype, (1, classes)),), None))
    assert meter.outputs is not None
    times = []
    for _ in range(ROUNDS):
        meter.outputs.extend(scores[n : n + 1] for n in range(CALLS))
        meter.pending.extend([150_000] * CALLS)
        start = time.thread_time_ns()
        meter.fold()
        times.append((time.thread_time_ns() - start) / CALLS)
    return round(statistics.median(times))


if __name__ == "__main__":
    main()
