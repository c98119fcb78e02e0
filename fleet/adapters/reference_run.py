"""Runs a reference model on inputs of a release, in a process of its own: a bad file may crash it.

Parent and child share a folder: `inputs.npz` holds an array [n, ...] of each input of the release, in its own
types, and `task.json` what they mean; the child writes `outputs.npy`, the reference's first output as real
values [n, width], or `error.txt`.

Run as `python -m fleet.adapters.reference_run FOLDER MODEL`, this file is the child.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from fleet.requantizing import Array, pairing, real, taken
from wire.adapters.processes import python_environment, python_module, tied
from wire.codec import decode, encode
from wire.errors import DataError, EdgeflockError, ModelError, UnavailableError
from wire.manifest import Postprocessing, TensorSpec
from wire.scores import read_scores, scores_width

_INPUTS, _TASK, _OUTPUTS, _ERROR = "inputs.npz", "task.json", "outputs.npy", "error.txt"
_TIME_LIMIT_S: Final = 1800.0
_KINDS: Final[Mapping[str, type[EdgeflockError]]] = {
    kind.__name__: kind for kind in (DataError, ModelError, UnavailableError)
}
#: What the interpreter raises for a file that it cannot load or run.
_INTERPRETER_ERRORS: Final = (ValueError, RuntimeError, MemoryError, TypeError)


@dataclass(frozen=True)
class Task:
    """What the inputs mean, and how answers are read."""

    inputs: tuple[TensorSpec, ...]
    task: str = "classes"
    postprocessing: Postprocessing = field(default_factory=Postprocessing)


def rerun(model: Path, task: Task, rows: Sequence[tuple[Array, ...]]) -> tuple[list[int], list[float | None]]:
    """Return class and confidence of each row by the model in `model`, a `.tflite` or a bundle.

    Raises DataError where it takes other inputs or gives no classes, ModelError where it cannot be run, and
    UnavailableError without an interpreter.
    """
    with tempfile.TemporaryDirectory(prefix="edgeflock-") as name:
        folder = Path(name)
        columns = {f"i{i}": np.stack([row[i] for row in rows]) for i in range(len(task.inputs))}
        np.savez(folder / _INPUTS, **columns)
        (folder / _TASK).write_bytes(encode(task))
        _run(folder, model)
        values: Array = np.load(folder / _OUTPUTS)
    classes, confidences = read_scores(values, task.postprocessing.activation)
    known = [float(c) if np.isfinite(c) else None for c in confidences]
    return classes.tolist(), known


def _run(folder: Path, model: Path) -> None:
    command = tied(python_module("fleet.adapters.reference_run", str(folder), str(model.resolve())))
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=python_environment(),
            timeout=_TIME_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{model}: not done after {_TIME_LIMIT_S:.0f} s, stopped") from error
    error_file = folder / _ERROR
    if error_file.exists():
        kind, _, text = error_file.read_text(encoding="utf-8").partition("\n")
        raise _KINDS[kind](f"{model}: {text}" if kind != UnavailableError.__name__ else text)
    if done.returncode or not (folder / _OUTPUTS).exists():
        how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit {done.returncode}"
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise ModelError(f"{model}: the interpreter ended with {how}{': ' + last if last else ''}")


def _child(folder: Path, model: str) -> None:
    """Do the work; what goes wrong in a known way is written as the answer."""
    try:
        np.save(folder / _OUTPUTS, _answers(folder, model))
    except EdgeflockError as error:
        (folder / _ERROR).write_text(f"{type(error).__name__}\n{error}", encoding="utf-8")


def _answers(folder: Path, model: str) -> Array:
    task = decode(Task, (folder / _TASK).read_bytes())
    try:
        interpreter = _interpreter(model)
        found = _Reference(interpreter, task)
        with np.load(folder / _INPUTS) as stored:
            columns = [stored[f"i{i}"] for i in range(len(task.inputs))]
        return np.stack([found.answer(row) for row in zip(*columns, strict=True)])
    except _INTERPRETER_ERRORS as error:
        raise ModelError(" ".join(str(error).split())[:300] or type(error).__name__) from error


def _interpreter(model: str) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # optional: a server runs no models otherwise
    except ImportError as error:
        raise UnavailableError("no ai-edge-litert here: pip install 'edgeflock[agree]'") from error
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


class _Reference:
    """The reference, of the child: rows of the release in, real values of the first output out."""

    def __init__(self, interpreter: Any, task: Task) -> None:
        self._interpreter = interpreter
        self._inputs = [(d["index"], _spec(d)) for d in interpreter.get_input_details()]
        output = interpreter.get_output_details()[0]
        self._output, self._output_spec = output["index"], _spec(output)
        self._ours = task.inputs
        self._order = pairing(task.inputs, [spec for _, spec in self._inputs])
        width = scores_width(task.task, task.postprocessing, self._output_spec.shape)
        if width is None:
            raise DataError("its first output is no answer in classes")
        self._width = width

    def answer(self, row: tuple[Array, ...]) -> Array:
        self._interpreter.reset_all_variables()  # samples do not follow one another
        for (index, spec), position in zip(self._inputs, self._order, strict=True):
            values = real(row[position], self._ours[position])
            self._interpreter.set_tensor(index, taken(values, spec))
        self._interpreter.invoke()
        values = real(self._interpreter.get_tensor(self._output), self._output_spec)
        return values.reshape(self._width).astype(np.float64)


def _spec(details: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    shape = tuple(int(n) for n in details["shape"])
    dtype = np.dtype(details["dtype"]).name
    return TensorSpec(str(details["name"]), dtype, shape, float(scale) or None, int(zero_point))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), sys.argv[2])
