"""Our `predict` against the bare interpreter path of the same backend, in one process.

    python benchmarks/latency.py --work FOLDER [--json FILE]

`predict` checks the input, takes the interpreter from the pool, times the call, counts it in the
latency histogram that telemetry reports, and returns a typed result. The bare path is `set_tensor`,
`invoke`, `get_tensor`. Both get arrays of the model's own dtype and give raw outputs. Blocks of calls
alternate between the two, so that both meet the same noise; ratios are taken pair by pair. The
interval is that of the median over rounds (bootstrap, 95 %), each with interpreters of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nets import SHAPES, bundles, noise
from edge.adapters.tflite import backend_version, installed_backends, make_loader
from edge.loading import load
from edge.runtime import Runtime

_ROUNDS = 16
_BLOCKS = 5
_BLOCK_S = 0.05
_MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}


def bare_path(path: Path, backend: str) -> Callable[[Any], Any]:
    """Return what most projects write: set_tensor, invoke, get_tensor."""
    interpreter = importlib.import_module(_MODULES[backend]).Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    given_index, got_index = given["index"], got["index"]

    def call(x: Any) -> Any:
        interpreter.set_tensor(given_index, x)
        interpreter.invoke()
        return interpreter.get_tensor(got_index)

    return call


def block_us(call: Callable[[Any], Any], x: Any, calls: int) -> float:
    """Return the microseconds of one call, over a block of them."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        call(x)
    return (time.perf_counter_ns() - start) / calls / 1000


def measure(name: str, path: Path, backend: str) -> dict[str, Any]:
    """Return the figures of one model. Each round makes both anew, now one first and now the other.

    Two bare interpreters of one file differ by up to 3 %, by where their memory happens to lie.
    """
    rounds, calls, counted = [], 0, 0
    for number in range(_ROUNDS):
        calls, pairs, inferences = run_round(name, path, backend, ours_first=number % 2 == 0)
        rounds.append(pairs)
        counted += inferences
    ratios = np.array([np.median([ours / bare for ours, bare in pairs]) for pairs in rounds])
    low, high = interval(ratios)
    every = [pair for pairs in rounds for pair in pairs]
    return {
        "model": name,
        "backend": backend_version(backend),
        "dtype": noise(name, 1).dtype.name,
        "blocks": len(every),
        "calls_in_block": calls,
        "calls_counted": counted,
        "ours_us": round(statistics.median(ours for ours, _ in every), 3),
        "bare_us": round(statistics.median(bare for _, bare in every), 3),
        "ratio": round(float(np.median(ratios)), 4),
        "ratio_95": [round(low, 4), round(high, 4)],
    }


def run_round(
    name: str, path: Path, backend: str, *, ours_first: bool
) -> tuple[int, list[tuple[float, float]], int]:
    """Return calls in a block, (ours, bare) microseconds of each pair, and calls that we counted."""
    early = None if ours_first else bare_path(path, backend)
    with Runtime() as runtime:
        runtime.swap(load(f"{name}/1", path, make_loader(backend)))
        assert runtime.model is not None
        bare, predict, x = early or bare_path(path, backend), runtime.predict, noise(name, 1)
        assert np.array_equal(predict(x).raw[0], bare(x))
        calls = max(5, int(_BLOCK_S * 1e6 / block_us(bare, x, 5)))
        block_us(bare, x, calls), block_us(predict, x, calls)  # both warm
        pairs = [(block_us(predict, x, calls), block_us(bare, x, calls)) for _ in range(_BLOCKS)]
        return calls, pairs, runtime.model.meter.inferences


def interval(ratios: np.ndarray) -> tuple[float, float]:  # type: ignore[type-arg]  # float64 [rounds]
    """Return the 95 % interval of the median by bootstrap (Efron, 1979): 4,000 resamples, fixed seed."""
    rng = np.random.default_rng(1)
    medians = np.median(rng.choice(ratios, (4000, len(ratios))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the models, made when missing")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--backend", choices=installed_backends(), action="append")
    arguments = parser.parse_args()
    results = []
    for backend in arguments.backend or installed_backends():
        for net in SHAPES:
            results.append(measure(net, bundles(arguments.work, net)[0], backend))
            print(json.dumps(results[-1]), flush=True)
    if arguments.json:
        found = {"machine": platform.machine(), "python": platform.python_version(), "results": results}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
