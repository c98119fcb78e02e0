"""Conversions of many sources in one process, since each start of TensorFlow takes seconds.

`python tests/support/source_attempts.py TABLE` does what the children do, one job after the other. It is
run as a file, and takes and gives what needs none of the tests' packages to be unpickled.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.source_child import Answered, Job
from converter.source import Array, SourceOptions
from wire.errors import EdgeflockError

ROOT: Final = Path(__file__).parents[2]
_QUIET: Final = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}


@dataclass(frozen=True)
class Attempt:
    """A source in the folder of models, and with what it is to be converted."""

    file: str
    child: str = "keras_child"
    rows: Mapping[str, Array] | None = None
    code: str | None = None
    signature: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it: the answers and by how much the file's own differ, or an error."""

    answered: Answered | None = None
    differences: tuple[float, ...] = ()
    error: EdgeflockError | None = None

    @property
    def made(self) -> Answered:
        if self.error is not None:
            raise self.error
        assert self.answered is not None
        return self.answered


@cache
def models(folder: Path) -> Path:
    """Make the models of `source_models` in `folder`, once a test run; return where they are."""
    made = folder / "source-models"
    made.mkdir()
    _run(Path(__file__).with_name("source_models.py"), made)
    return made


def outcomes(folder: Path, attempts: Mapping[str, Attempt]) -> Mapping[str, Outcome]:
    """Convert the files in `folder` one after the other; return what came of each by its name."""
    table = folder / f"{next(iter(attempts))}.pickle"
    plain = {name: asdict(attempt) for name, attempt in attempts.items()}
    table.write_bytes(pickle.dumps((folder, plain)))
    _run(Path(__file__), table)
    return {name: Outcome(*parts) for name, parts in pickle.loads(table.read_bytes()).items()}


def _run(script: Path, argument: Path) -> None:
    command = [sys.executable, str(script), str(argument)]
    environment = os.environ | _QUIET | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _tried(
    folder: Path, attempt: Attempt
) -> tuple[Answered | None, tuple[float, ...], EdgeflockError | None]:
    code = (folder / attempt.code,) if attempt.code else ()
    job = Job(folder, folder / attempt.file, attempt.rows, SourceOptions(code, attempt.signature))
    try:
        answered: Answered = import_module(f"converter.adapters.{attempt.child}").work(job)
        return answered, _differences(answered), None
    except EdgeflockError as error:
        return None, (), error


def _differences(answered: Answered) -> tuple[float, ...]:
    """Run the file as a device does, by position; return by how much each output differs at most."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=answered.tflite)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    assert [tuple(details["shape"]) for details in inputs] == [(1, *spec.shape) for spec in answered.inputs]
    assert [np.dtype(details["dtype"]).name for details in inputs] == [s.dtype for s in answered.inputs]
    largest = np.zeros(len(outputs))
    for row in range(min(8, len(answered.rows[0]))):
        for details, rows in zip(inputs, answered.rows, strict=True):
            interpreter.set_tensor(details["index"], rows[row : row + 1])
        interpreter.invoke()
        given: list[Any] = [interpreter.get_tensor(details["index"])[0] for details in outputs]
        apart = [float(np.abs(g - a[row]).max()) for g, a in zip(given, answered.answers, strict=True)]
        largest = np.maximum(largest, apart)
    return tuple(largest.tolist())


def main(table: Path) -> None:
    folder, attempts = pickle.loads(table.read_bytes())
    table.write_bytes(
        pickle.dumps({name: _tried(folder, Attempt(**said)) for name, said in attempts.items()})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
