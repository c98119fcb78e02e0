"""Quantizes and calibrates by litert-quantizer, in child processes: it and its interpreter are native code.

- One child makes all forms of a model. When it ends on one, a new one goes on with the others, so
  that a form which cannot be made costs only itself.
- Static int8 models take and give codes, as the library leaves them: the device quantizes with the
  scale in the manifest, and saves two operators.
- It needs no TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from converter.adapters.child import run_child, work_folder
from converter.adapters.flatbuffer import read_graphs
from converter.calibration import ORDERS, Array, Calibration, Series, calibrated, column_warning, spread
from converter.graph import float_calls
from converter.planning import Plan, make_plan
from converter.recipes import RECIPES, LayerLoss, Ranges, Rule
from wire.errors import ModelError

#: How many calibration samples are worth their time.
CALIBRATION_LIMIT: Final = 100

_CHILD: Final = "converter.adapters.quantizer_child"
_TIME_LIMIT_S: Final = 600.0
_SEED: Final = 0


@dataclass(frozen=True)
class Job:
    """One form to make: a recipe, and the exceptions from it."""

    recipe: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Quantized:
    """What became of a job: a model, or in one line why there is none. `notes` say what was decided."""

    tflite: bytes | None
    error: str = ""
    notes: tuple[str, ...] = ()


def calibrate(tflite: bytes, samples: Sequence[Array]) -> Calibration:
    """Return the ranges of all tensors of a float32 model over `samples`, an array [n, ...] for each input.

    Loops are seen from outside only. Raises ModelError when the model cannot be run.
    """
    with work_folder() as folder:
        _put(folder, tflite, samples)
        said = run_child(_CHILD, folder, "calibrate", doing="calibrating", time_limit_s=_TIME_LIMIT_S)
        series = Series(tuple(said["names"]), np.load(folder / "lowest.npy"), np.load(folder / "highest.npy"))
    random = np.random.default_rng(_SEED)
    found = calibrated(series, [random.permutation(len(series.lowest)) for _ in range(ORDERS)])
    graph = read_graphs(tflite)[0]
    if float_calls(graph, found.ranges):
        return found  # a scaler in front, which stays float32
    columns = filter(None, (column_warning(rows) for rows in samples))
    return replace(found, warnings=(*found.warnings, *columns))


def quantize(tflite: bytes, jobs: Sequence[Job], ranges: Ranges | None) -> list[Quantized]:
    """Return what becomes of the float32 model `tflite` in each job; the same input gives the same bytes.

    `ranges` are needed for recipes that calibrate. A job that fails has an error, and no other suffers.
    """
    graphs = read_graphs(tflite)
    made: dict[int, Quantized] = {}
    plans: dict[int, Plan] = {}
    for number, job in enumerate(jobs):
        try:
            plans[number] = make_plan(graphs, RECIPES[job.recipe], job.rules, ranges)
        except ModelError as error:
            made[number] = Quantized(None, str(error))
    with work_folder() as folder:
        _put(folder, tflite, ())
        (folder / "ranges.json").write_text(json.dumps(ranges))
        while left := [number for number in plans if number not in made]:
            made |= _made(folder, {number: plans[number] for number in left})
    return [made[number] for number in range(len(jobs))]


def _made(folder: Path, plans: Mapping[int, Plan]) -> dict[int, Quantized]:
    """Run one child; return what it got done, and of the job that ended it, how."""
    jobs = [
        {
            "number": number,
            "recipe": plan.recipe.name,
            "calls": plan.calls,
            "float_inputs": plan.float_inputs,
            "float_outputs": plan.float_outputs,
        }
        for number, plan in plans.items()
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    try:
        run_child(_CHILD, folder, "quantize", doing="quantizing", time_limit_s=_TIME_LIMIT_S)
        ended = "quantizing: no answer"
    except ModelError as error:
        ended = str(error)
    made = {}
    for number, plan in plans.items():
        outcome = folder / f"outcome-{number}.json"
        if not outcome.exists():
            made[number] = Quantized(None, ended)
            break
        refused = json.loads(outcome.read_text())["error"]
        tflite = None if refused else (folder / f"made-{number}.tflite").read_bytes()
        made[number] = Quantized(tflite, refused, () if refused else plan.notes)
    return made


def layer_losses(float32: bytes, quantized: bytes, samples: Sequence[Array]) -> tuple[LayerLoss, ...]:
    """Return how far each operator's output is from the float32 model's over `samples`, the worst first.

    Operators inside loops, and those that lose nothing, are not among them. Raises ModelError.
    """
    with work_folder() as folder:
        _put(folder, float32, [spread(rows, CALIBRATION_LIMIT) for rows in samples])
        (folder / "quantized.tflite").write_bytes(quantized)
        said = run_child(_CHILD, folder, "losses", doing="comparing layers", time_limit_s=_TIME_LIMIT_S)
    losses = [LayerLoss(**fields) for fields in said["losses"]]
    return tuple(sorted(losses, key=lambda loss: -loss.error))


def _put(folder: Path, tflite: bytes, samples: Sequence[Array]) -> None:
    (folder / "model.tflite").write_bytes(tflite)
    for position, rows in enumerate(samples):
        np.save(folder / f"input-{position}.npy", rows)
