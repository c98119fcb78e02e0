"""The child that calibrates, quantizes and compares.

    python -m converter.adapters.quantizer_child FOLDER TASK

- Calibration runs without a delegate, so that every tensor holds what its operator put there.
- A model that does not load is none: some 16-bit forms are made and then refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.child import answer, one_line
from converter.adapters.flatbuffer import read_graphs, with_true_versions
from converter.adapters.quantizer_recipe import library_recipe
from converter.calibration import Array, coded
from converter.codes import to_codes, to_values
from converter.graph import Graph, Tensor, short
from converter.recipes import RECIPES
from wire.errors import EdgeflockError, ModelError
from wire.manifest import TensorSpec

#: A relative error below this is float32's own.
_ROUNDING: Final = 1e-6


def calibrate(folder: Path) -> dict[str, Any]:
    """Write the smallest and largest value of each float32 tensor in each sample, [samples, tensors]."""
    tflite = (folder / "model.tflite").read_bytes()
    graph = read_graphs(tflite)[0]
    places = [
        n for n, tensor in enumerate(graph.tensors) if tensor.dtype == "float32" and not tensor.constant
    ]
    limits = [
        [_limits(_value(interpreter, place)) for place in places]
        for interpreter in _runs(tflite, graph, _rows(folder), delegate=False)
    ]
    lowest, highest = np.moveaxis(np.asarray(limits, np.float64), 2, 0)
    np.save(folder / "lowest.npy", lowest)
    np.save(folder / "highest.npy", highest)
    return {"names": [graph.tensors[place].name for place in places]}


def _limits(values: Array | None) -> tuple[float, float]:
    """Return the extremes; a mask's infinity is no value, and a tensor without values is left out later."""
    finite = np.empty(0) if values is None else values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)


def _value(interpreter: Any, place: int) -> Array | None:
    try:
        value: Array = interpreter.get_tensor(place)
    except ValueError:  # a tensor that only a loop's inside has, or that a delegate swallowed
        return None
    return value


def _runs(tflite: bytes, graph: Graph, rows: Sequence[Array], *, delegate: bool) -> Iterator[Any]:
    """Run the model on one row after the other; yield the interpreter with the values of all tensors."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=tflite,
        num_threads=1,
        experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    specs = [_spec(graph.tensors[place]) for place in graph.inputs]
    if len(specs) != len(rows):
        raise ModelError(f"it has {len(specs)} inputs, samples are for {len(rows)}")
    for row in range(len(rows[0])):
        for place, spec, array in zip(graph.inputs, specs, rows, strict=True):
            interpreter.set_tensor(place, to_codes(spec, array[row : row + 1]))
        interpreter.invoke()
        yield interpreter


def _rows(folder: Path) -> list[Array]:
    count = len(list(folder.glob("input-*.npy")))
    return [np.load(folder / f"input-{position}.npy") for position in range(count)]


def _spec(tensor: Tensor) -> TensorSpec:
    single = len(tensor.scales) == 1
    return TensorSpec(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        scale=tensor.scales[0] if single else None,
        zero_point=tensor.zero_points[0] if single else None,
    )


def quantize(folder: Path) -> dict[str, Any]:
    """Do all jobs in turn; each leaves its outcome behind before the next begins."""
    tflite = (folder / "model.tflite").read_bytes()
    graphs = read_graphs(tflite)
    ranges = json.loads((folder / "ranges.json").read_text())
    for job in json.loads((folder / "jobs.json").read_text()):
        error = ""
        try:
            made = with_true_versions(_quantized(tflite, graphs, ranges, job))
            _check(made, job["recipe"])
            (folder / f"made-{job['number']}.tflite").write_bytes(made)
        except EdgeflockError as failure:
            error = str(failure)
        except Exception as failure:  # the library raises what it likes, and so does the interpreter
            error = f"quantizing to {job['recipe']}: {one_line(failure)}"
        (folder / f"outcome-{job['number']}.json").write_text(json.dumps({"error": error}))
    return {}


def _quantized(
    tflite: bytes,
    graphs: Sequence[Graph],
    ranges: Mapping[str, Sequence[float]] | None,
    job: Mapping[str, Any],
) -> bytes:
    # In this order: the library's own imports form a circle.
    from litert_quantizer import calibrator, quantizer  # noqa: F401

    used = [RECIPES[name] for names in job["calls"] for name in names]
    if all(recipe.name == "float32" for recipe in used):
        return tflite
    engine = quantizer.Quantizer(bytearray(tflite))
    engine.load_quantization_recipe(library_recipe(graphs, job))
    static = [recipe for recipe in (RECIPES[job["recipe"]], *used) if recipe.calibrates]
    known = _known(graphs[0], ranges or {}, static[0].activations) if static else None
    return bytes(engine.quantize(known, enable_progress_report=False).quantized_model)


def _known(graph: Graph, ranges: Mapping[str, Sequence[float]], dtype: str) -> dict[str, Any]:
    """Return the ranges as the library takes them: for each tensor, arrays of its rank."""
    known = {}
    for tensor in graph.tensors:
        if tensor.name in ranges and not tensor.constant:
            low, high = coded((ranges[tensor.name][0], ranges[tensor.name][1]), dtype)
            rank = (1,) * len(tensor.shape)
            known[tensor.name] = {"min": np.full(rank, low), "max": np.full(rank, high)}
    return known


def _check(tflite: bytes, recipe: str) -> None:
    """Raise ModelError unless something was quantized, and the result can be loaded."""
    from ai_edge_litert.interpreter import Interpreter

    graphs = read_graphs(tflite)
    stored = (tensor.quantized or tensor.dtype == "float16" for graph in graphs for tensor in graph.tensors)
    if RECIPES[recipe].weights != "float32" and not any(stored):
        names = ", ".join(dict.fromkeys(call.operator for graph in graphs for call in graph.calls))
        raise ModelError(f"{recipe} has nothing for any of its operators ({names})")
    Interpreter(model_content=tflite, num_threads=1).allocate_tensors()


def losses(folder: Path) -> dict[str, Any]:
    """Run both models side by side; return each operator's error, relative to what its output holds."""
    rows = _rows(folder)
    plain, other = ((folder / f"{name}.tflite").read_bytes() for name in ("model", "quantized"))
    graph, twin = read_graphs(plain)[0], read_graphs(other)[0]
    pairs = _pairs(graph, twin)
    signal, noise = np.zeros(len(pairs)), np.zeros(len(pairs))
    runs = zip(
        _runs(plain, graph, rows, delegate=False), _runs(other, twin, rows, delegate=True), strict=True
    )
    for one, another in runs:
        for number, (_, place, coded_place) in enumerate(pairs):
            value, codes = _value(one, place), _value(another, coded_place)
            if value is not None and codes is not None:
                exact, found = value.astype(np.float64), to_values(_spec(twin.tensors[coded_place]), codes)
                signal[number] += np.square(exact).sum()
                noise[number] += np.square(exact - found).sum()
    errors = np.sqrt(np.divide(noise, signal, out=np.zeros_like(noise), where=signal > 0))
    return {
        "losses": [
            {"name": short(graph.tensors[place].name), "operator": operator, "error": float(error)}
            for (operator, place, _), error in zip(pairs, errors, strict=True)
            if error > _ROUNDING
        ]
    }


def _pairs(graph: Graph, twin: Graph) -> list[tuple[str, int, int]]:
    """Return the operators' float32 outputs that both models have: operator, place in either."""
    places = {tensor.name: place for place, tensor in enumerate(twin.tensors)}
    return [
        (call.operator, place, places[graph.tensors[place].name])
        for call in graph.calls
        for place in call.gives
        if place >= 0 and graph.tensors[place].dtype == "float32" and graph.tensors[place].name in places
    ]


def main(arguments: list[str]) -> int:
    """Be the child."""
    folder, task = Path(arguments[0]), arguments[1]
    tasks = {"calibrate": calibrate, "quantize": quantize, "losses": losses}
    return answer(folder, lambda: tasks[task](folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
