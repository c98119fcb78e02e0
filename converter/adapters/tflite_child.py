"""The child that takes a TFLite file as it is: `python -m converter.adapters.tflite_child FOLDER`.

Its own framework is the runtime: what ai-edge-litert answers with the file is what it should answer.
"""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.adapters.child import one_line
from converter.adapters.source_child import Answered, Job, be_child
from converter.adapters.tflite_file import check_stateless, operator_names, runs_loops
from converter.adapters.tflite_model import check_float, outputs, slots, take_apart, with_sizes
from converter.signatures import fixed, settled
from converter.source import Array
from wire.errors import ModelError


def work(job: Job) -> Answered:
    """Check, fix and run the file that `job` names."""
    tflite = _without_zip(job.path)
    taken = take_apart(tflite, job.options.signature)
    _check_operators(tflite)
    check_float(taken)
    check_stateless(tflite)
    found = slots(taken)
    specs = fixed(found, job.rows)
    rows = job.bound(specs)
    made = with_sizes(taken, specs)
    return Answered(
        tflite=made,
        inputs=specs,
        outputs=outputs(taken),
        rows=rows,
        answers=_answers(made, rows),
        traits=frozenset({"recurrent"} if runs_loops(made) else ()),
        versions={"ai-edge-litert": importlib.metadata.version("ai-edge-litert")},
        notes=tuple(settled(found, specs)),
    )


def _without_zip(path: Path) -> bytes:
    """Return the model's bytes: a zip may stand behind them, as in a bundle."""
    whole = path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            start = min((entry.header_offset for entry in archive.infolist()), default=len(whole))
    except (zipfile.BadZipFile, OSError, ValueError):
        return whole
    return whole[:start]


def _check_operators(tflite: bytes) -> None:
    custom = sorted(
        name.removeprefix("custom ") for name in operator_names(tflite) if name.startswith("custom ")
    )
    if custom:
        raise ModelError(
            f"it needs {', '.join(custom)}, which plain TFLite lacks: "
            "convert its model with built-in operators only (TFLITE_BUILTINS)"
        )


def _answers(tflite: bytes, rows: Sequence[Array]) -> tuple[Array, ...]:
    """Return what the runtime answers, float32 [n, ...] for each output."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=tflite, num_threads=1)
        interpreter.allocate_tensors()
        return _invoked(interpreter, rows)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"it cannot be run with a batch of 1: {one_line(error)}") from error


def _invoked(interpreter: Any, rows: Sequence[Array]) -> tuple[Array, ...]:
    inputs = [details["index"] for details in interpreter.get_input_details()]
    outputs = [details["index"] for details in interpreter.get_output_details()]
    answers: list[list[Array]] = [[] for _ in outputs]
    for row in range(len(rows[0])):
        for index, array in zip(inputs, rows, strict=True):
            interpreter.set_tensor(index, array[row : row + 1])
        interpreter.invoke()
        for series, index in zip(answers, outputs, strict=True):
            series.append(interpreter.get_tensor(index))
    return tuple(_unbatched(np.asarray(series, np.float32)) for series in answers)


def _unbatched(series: Array) -> Array:
    """Return [n, 1, ...] without the batch; an output without one is as it is."""
    return series[:, 0] if series.ndim > 1 and series.shape[1] == 1 else series


def main(arguments: list[str]) -> int:
    """Be the child."""
    return be_child(arguments, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
