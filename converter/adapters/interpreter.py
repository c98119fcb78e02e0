"""Runs a model file on inputs, as a device would, on any of the interpreters installed here.

The arithmetic around the model (quantizing inputs, dequantizing outputs) is the device's, operation
for operation: golden outputs that were computed otherwise would refuse good models.

It runs in a child (`python -m converter.adapters.interpreter FOLDER BACKEND CALLS`): a bad model, or
a good one on an old interpreter, can end the process.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.child import answer, run_child, work_folder
from converter.evaluation import Array, Latency
from wire.errors import ModelError
from wire.manifest import TensorSpec

#: The interpreter that measures; the others only prove.
REFERENCE: Final = "ai-edge-litert"

_MODULES: Final = {
    REFERENCE: "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
_TIMED_CALLS: Final = 300
_WARM_UP_CALLS: Final = 10
_TIME_LIMIT_S: Final = 600.0


@dataclass(frozen=True)
class Run:
    """What one interpreter made of a model: its tensors, and answers float32 [n, outputs].

    `latency` is None when no calls were to be timed.
    """

    runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answers: Array
    latency: Latency | None


def installed() -> list[str]:
    """Return the names of the interpreters that are installed, the reference first."""
    return [name for name, module in _MODULES.items() if importlib.util.find_spec(module.split(".")[0])]


def run(tflite: bytes, inputs: Array, backend: str = REFERENCE, *, timed_calls: int = _TIMED_CALLS) -> Run:
    """Run `tflite` on each of `inputs` [n, ...] with one thread; raise ModelError when it cannot."""
    with work_folder() as folder:
        (folder / "model.tflite").write_bytes(tflite)
        np.save(folder / "inputs.npy", inputs)
        said = run_child(
            __name__,
            folder,
            backend,
            str(timed_calls),
            doing=f"running the model on {backend}",
            time_limit_s=_TIME_LIMIT_S,
        )
        return Run(
            runtime=said["runtime"],
            inputs=tuple(_spec(**fields) for fields in said["inputs"]),
            outputs=tuple(_spec(**fields) for fields in said["outputs"]),
            answers=np.load(folder / "answers.npy"),
            latency=Latency(**said["latency"]) if said["latency"] else None,
        )


def _spec(shape: list[int], **fields: Any) -> TensorSpec:
    return TensorSpec(shape=tuple(shape), **fields)


def work(folder: Path, backend: str, timed_calls: int) -> dict[str, Any]:
    """Be the child: run the model in `folder`."""
    interpreter_class = importlib.import_module(_MODULES[backend]).Interpreter
    interpreter = interpreter_class(model_path=str(folder / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = [_describe(d) for d in taken], [_describe(d) for d in given]
    answers = []
    for sample in np.load(folder / "inputs.npy"):
        interpreter.set_tensor(taken[0]["index"], _encode(inputs[0], sample))
        interpreter.invoke()
        answers.append(_decode(outputs[0], interpreter.get_tensor(given[0]["index"])).ravel())
    np.save(folder / "answers.npy", np.asarray(answers, np.float32))
    return {
        "runtime": f"{backend} {importlib.metadata.version(backend)}",
        "inputs": [asdict(spec) for spec in inputs],
        "outputs": [asdict(spec) for spec in outputs],
        "latency": asdict(_measure(interpreter, timed_calls)) if timed_calls else None,
    }


def _describe(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    quantized = float(scale) != 0.0
    return TensorSpec(
        name=str(details["name"]),
        dtype=str(np.dtype(details["dtype"])),
        shape=tuple(int(n) for n in details["shape"]),
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )


def _encode(spec: TensorSpec, sample: Array) -> Array:
    if spec.shape != (1, *sample.shape):
        raise ModelError(f"its input is {list(spec.shape)}, a row of the data {list(sample.shape)}")
    if spec.scale is None or spec.zero_point is None:
        return sample[np.newaxis]
    limits = np.iinfo(spec.dtype)
    codes = np.rint(sample * np.float32(1.0 / spec.scale) + np.float32(spec.zero_point))
    clipped: Array = np.clip(codes, limits.min, limits.max).astype(spec.dtype)
    return clipped[np.newaxis]


def _decode(spec: TensorSpec, codes: Array) -> Array:
    if spec.scale is None or spec.zero_point is None:
        return codes
    real: Array = (codes.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return real


def _measure(interpreter: Any, calls: int) -> Latency:
    """Time single calls; the first few are dearer and not counted."""
    for _ in range(_WARM_UP_CALLS):
        interpreter.invoke()
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        interpreter.invoke()
        taken.append((time.perf_counter() - start) * 1e6)
    return Latency(float(np.median(taken)), float(np.percentile(taken, 99)))


def main(arguments: list[str]) -> int:
    """Be the child."""
    folder, backend, calls = Path(arguments[0]), arguments[1], int(arguments[2])
    return answer(folder, lambda: work(folder, backend, calls))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
