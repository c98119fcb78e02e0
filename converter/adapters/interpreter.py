"""Runs a model file on inputs, as a device would, on any of the interpreters installed here.

It runs in a child (`python -m converter.adapters.interpreter FOLDER BACKEND CALLS`): a bad model, or
a good one on an old interpreter, can end the process.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.child import answer, run_child, work_folder
from converter.codes import to_codes, to_values
from converter.delegation import Node, delegated
from converter.evaluation import Array, Latency
from wire.adapters.own_memory import peak_bytes
from wire.errors import ModelError
from wire.manifest import TensorSpec

#: The interpreter that measures; the others only prove.
REFERENCE: Final = "ai-edge-litert"

_MODULES: Final = {
    REFERENCE: "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
_TIMED_CALLS: Final = 300
_TIMED_S: Final = 2.0
_WARM_UP_CALLS: Final = 10
_TIME_LIMIT_S: Final = 900.0


@dataclass(frozen=True)
class Run:
    """What one interpreter made of a model: its tensors, and for each output answers float32 [n, ...].

    `latency` is None when no calls were to be timed. `peak_bytes` is by how much loading and running
    raised the process' memory; `delegated` counts, by name, the operators that a delegate ran.
    """

    runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answers: tuple[Array, ...]
    latency: Latency | None
    peak_bytes: int = 0
    delegated: Mapping[str, int] = field(default_factory=dict)


def installed() -> list[str]:
    """Return the names of the interpreters that are installed, the reference first."""
    return [name for name, module in _MODULES.items() if importlib.util.find_spec(module.split(".")[0])]


def versions() -> list[str]:
    """Return the interpreters installed here with their versions, such as `ai-edge-litert 2.3.0`."""
    return [f"{name} {importlib.metadata.version(name)}" for name in installed()]


def run(
    tflite: bytes, inputs: Sequence[Array], backend: str = REFERENCE, *, timed_calls: int = _TIMED_CALLS
) -> Run:
    """Run `tflite` on the rows of `inputs`, an array [n, ...] for each input, with one thread.

    Raises ModelError when it cannot.
    """
    with work_folder() as folder:
        (folder / "model.tflite").write_bytes(tflite)
        for position, rows in enumerate(inputs):
            np.save(folder / f"input-{position}.npy", rows)
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
            answers=tuple(np.load(folder / f"answer-{i}.npy") for i in range(len(said["outputs"]))),
            latency=Latency(**said["latency"]) if said["latency"] else None,
            peak_bytes=said["peak_bytes"],
            delegated=said["delegated"],
        )


def _spec(shape: list[int], **fields: Any) -> TensorSpec:
    return TensorSpec(shape=tuple(shape), **fields)


def work(folder: Path, backend: str, timed_calls: int) -> dict[str, Any]:
    """Be the child: run the model in `folder`."""
    interpreter_class = importlib.import_module(_MODULES[backend]).Interpreter
    rows = _read_inputs(folder)
    before_bytes = peak_bytes()
    interpreter = interpreter_class(model_path=str(folder / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    inputs = [_describe(details) for details in interpreter.get_input_details()]
    outputs = [_describe(details) for details in interpreter.get_output_details()]
    for position, answers in enumerate(_answers(interpreter, inputs, outputs, rows)):
        np.save(folder / f"answer-{position}.npy", answers)
    return {
        "runtime": f"{backend} {importlib.metadata.version(backend)}",
        "inputs": [asdict(spec) for spec in inputs],
        "outputs": [asdict(spec) for spec in outputs],
        "latency": asdict(_measure(interpreter, inputs, rows, timed_calls)) if timed_calls else None,
        "peak_bytes": max(0, peak_bytes() - before_bytes),
        "delegated": delegated(_nodes(interpreter)),
    }


def _read_inputs(folder: Path) -> list[Array]:
    count = len(list(folder.glob("input-*.npy")))
    return [np.load(folder / f"input-{position}.npy") for position in range(count)]


def _answers(
    interpreter: Any, inputs: list[TensorSpec], outputs: list[TensorSpec], rows: list[Array]
) -> list[Array]:
    """Return for each output its real values, [n, ...], one call for each row."""
    if len(inputs) != len(rows):
        raise ModelError(f"it has {len(inputs)} inputs, {len(rows)} were given")
    taken = [details["index"] for details in interpreter.get_input_details()]
    given = [details["index"] for details in interpreter.get_output_details()]
    codes = [_coded(spec, array) for spec, array in zip(inputs, rows, strict=True)]
    answers: list[list[Array]] = [[] for _ in outputs]
    for row in range(len(rows[0])):
        for index, array in zip(taken, codes, strict=True):
            interpreter.set_tensor(index, array[row : row + 1])
        interpreter.invoke()
        for series, index in zip(answers, given, strict=True):
            series.append(interpreter.get_tensor(index))
    return [
        _unbatched(to_values(spec, np.asarray(series))).astype(np.float32)
        for spec, series in zip(outputs, answers, strict=True)
    ]


def _coded(spec: TensorSpec, rows: Array) -> Array:
    if spec.shape != (1, *rows.shape[1:]):
        raise ModelError(f"its input is {list(spec.shape)}, a row of the data {list(rows.shape[1:])}")
    return to_codes(spec, rows)


def _unbatched(series: Array) -> Array:
    """Return [n, 1, ...] without the batch dimension; an output without one is as it is."""
    return series[:, 0] if series.ndim > 1 and series.shape[1] == 1 else series


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


def _nodes(interpreter: Any) -> list[Node]:
    """Return the operators as listed; an interpreter that does not list them shows no delegate."""
    details: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
    return [
        Node(op["op_name"], tuple(int(i) for i in op["inputs"]), tuple(int(i) for i in op["outputs"]))
        for op in details
    ]


def _measure(interpreter: Any, inputs: list[TensorSpec], rows: list[Array], calls: int) -> Latency:
    """Time single calls on the first row, for so long at most; the first few are dearer and not counted.

    The row is written before each, outside of the time: an interpreter may reuse an input's memory.
    """
    taken = [details["index"] for details in interpreter.get_input_details()]
    first = [to_codes(spec, array[:1]) for spec, array in zip(inputs, rows, strict=True)]
    times_us: list[float] = []
    end = time.perf_counter() + _TIMED_S
    while len(times_us) < calls + _WARM_UP_CALLS:
        if len(times_us) > 2 * _WARM_UP_CALLS and time.perf_counter() > end:
            break
        for index, codes in zip(taken, first, strict=True):
            interpreter.set_tensor(index, codes)
        start = time.perf_counter()
        interpreter.invoke()
        times_us.append((time.perf_counter() - start) * 1e6)
    counted = times_us[_WARM_UP_CALLS:]
    return Latency(float(np.median(counted)), float(np.percentile(counted, 99)))


def main(arguments: list[str]) -> int:
    """Be the child."""
    folder, backend, calls = Path(arguments[0]), arguments[1], int(arguments[2])
    return answer(folder, lambda: work(folder, backend, calls))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
