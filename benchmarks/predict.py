"""Our `predict` against the bare interpreter path of the same backend, in one process.

    python benchmarks/predict.py digits-2.bundle --data digits.npz

Blocks of calls alternate between the two, so that both meet the same noise; the ratio is taken pair
by pair. Both get float32 inputs: the bare path quantizes by the usual two lines of numpy.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge import open_bundle
from edge.adapters.tflite import backend_version, installed_backends

_BLOCKS = 40
_CALLS = 500


def bare_path(bundle: Path, backend: str) -> Callable[[Any], Any]:
    """Return what most projects write: set_tensor, invoke, get_tensor, with the quantization by hand."""
    module = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}[backend]
    interpreter = importlib.import_module(f"{module}.interpreter").Interpreter(str(bundle), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    out_scale, out_zero = got["quantization"]

    def call(x: Any) -> Any:
        if scale:
            x = np.clip(np.rint(x / scale + zero), -128, 127).astype(given["dtype"])
        interpreter.set_tensor(given["index"], x[np.newaxis])
        interpreter.invoke()
        answer = interpreter.get_tensor(got["index"])
        return (answer.astype(np.float32) - out_zero) * out_scale if out_scale else answer

    return call


def block_us(call: Callable[[Any], Any], inputs: Any) -> float:
    """Return the median microseconds of one call over a block."""
    times = []
    for i in range(_CALLS):
        start = time.perf_counter_ns()
        call(inputs[i % len(inputs)])
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def measure(bundle: Path, inputs: Any, backend: str) -> dict[str, Any]:
    bare = bare_path(bundle, backend)
    with open_bundle(bundle, backend=backend) as runtime:
        block_us(bare, inputs), block_us(runtime.predict, inputs)  # both warm
        pairs = [(block_us(runtime.predict, inputs), block_us(bare, inputs)) for _ in range(_BLOCKS)]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    return {
        "backend": backend_version(backend),
        "ours_us": round(statistics.median(ours for ours, _ in pairs), 2),
        "bare_us": round(statistics.median(theirs for _, theirs in pairs), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_middle_half": [round(ratios[_BLOCKS // 4], 3), round(ratios[-_BLOCKS // 4], 3)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parsed = parser.parse_args()
    with np.load(parsed.data) as data:
        inputs = data["x_test"]
    results = [measure(parsed.bundle, inputs, backend) for backend in installed_backends()]
    print(json.dumps({"bundle": parsed.bundle.name, "calls": _BLOCKS * _CALLS, "results": results}, indent=2))


if __name__ == "__main__":
    main()
