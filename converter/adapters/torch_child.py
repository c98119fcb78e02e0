"""The child that holds PyTorch: `python -m converter.adapters.torch_child FOLDER FUNCTION`.

It runs in an environment of its own: of ours it may import what needs numpy alone. litert-torch names
the inputs `args_0`, `args_1`, … and the outputs `output_0`, …; axes stay as the module has them.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from converter.adapters.child import one_line
from converter.adapters.own_code import import_file
from converter.adapters.source_child import Answered, Job, be_child
from converter.adapters.tflite_file import check_stateless, in_order, operator_names, runs_loops
from converter.refusals import not_lowered
from converter.signatures import Slot, fixed, settled
from converter.source import Array, InputSpec, Trait
from wire.errors import ModelError

#: Rows that are answered at once, where the module leaves the batch open.
_BATCH: Final = 64


@dataclass(frozen=True)
class Program:
    """A module that can be called, its inputs without the batch, and the names of its layers' classes."""

    module: Any
    slots: tuple[Slot, ...]
    open_batch: bool
    classes: frozenset[str]


def work(job: Job, function: str) -> Answered:
    """Load, run and convert the module that `job` names; `function` is empty for an exported program."""
    import torch

    program = _called(job, function) if function else _exported(job)
    specs = fixed(program.slots, job.rows)
    # litert-torch narrows int64 inputs: no operator of a board looks further.
    specs = tuple(replace(spec, dtype="int32") if spec.dtype == "int64" else spec for spec in specs)
    rows = job.bound(specs)
    with torch.no_grad():
        answers = _answers(program, rows)
        tflite = _to_tflite(program, specs, list(answers))
    return Answered(
        tflite=tflite,
        inputs=specs,
        outputs=tuple(answers),
        rows=rows,
        answers=tuple(answers.values()),
        traits=_traits(program, tflite),
        versions={name: importlib.metadata.version(name) for name in ("torch", "litert-torch")},
        notes=(*settled(program.slots, specs), *_axes(specs)),
    )


def _called(job: Job, function: str) -> Program:
    """Return the module that a function of the user's file returns, alone or with example inputs."""
    import torch

    module = import_file(job.path)
    if not callable(made := getattr(module, function, None)):
        raise ModelError(f"{job.path.name} has no function {function}")
    try:
        returned = made()
    except Exception as error:  # the user's code raises whatever it likes
        raise ModelError(f"{function}() fails: {type(error).__name__}: {one_line(error)}") from error
    net, *examples = returned if isinstance(returned, (tuple, list)) else (returned,)
    if not isinstance(net, torch.nn.Module):
        raise ModelError(
            f"{function}() returns {type(net).__name__}: needed is a torch.nn.Module, and example inputs"
        )
    given = examples[0] if len(examples) == 1 and isinstance(examples[0], (tuple, list)) else examples
    slots = [_slot(i, tensor.float() if _is_float(tensor) else tensor) for i, tensor in enumerate(given)]
    classes = frozenset(type(part).__name__ for part in net.modules())
    return Program(net.eval().float(), tuple(slots) or _slots_of(job), open_batch=True, classes=classes)


def _is_float(tensor: Any) -> bool:
    import torch

    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point()


def _slots_of(job: Job) -> tuple[Slot, ...]:
    """Describe the inputs by the data's rows, where there are no examples of them."""
    if job.rows is None:
        raise ModelError("it comes without example inputs: return (module, inputs), or give data")
    return tuple(Slot(f"args_{position}", None) for position in range(len(job.rows)))


def _exported(job: Job) -> Program:
    import torch

    try:
        program = torch.export.load(str(job.path))
    except Exception as error:  # a damaged archive, another version's, unknown operators: all kinds
        raise ModelError(f"PyTorch cannot load it: {one_line(error)}") from error
    examples, named = program.example_inputs or ((), {})
    if named or not examples:
        raise ModelError(
            "its inputs have no positions: export it with torch.export.export(module, (inputs…))"
        )
    sizes = [
        node.meta["val"].shape[0]
        for node in program.graph.nodes
        if node.name in program.graph_signature.user_inputs
    ]
    open_batch = all(not isinstance(size, int) for size in sizes)
    if not open_batch and any(isinstance(size, int) and size != 1 for size in sizes):
        raise ModelError(
            f"its batch is fixed at {sizes[0]}: export it with a batch of 1, or of a dynamic size"
        )
    stacks = [node.meta.get("nn_module_stack", {}) for node in program.graph.nodes]
    classes = {str(kind).rpartition(".")[2].strip("'>") for stack in stacks for _, kind in stack.values()}
    slots = tuple(_slot(position, tensor) for position, tensor in enumerate(examples))
    return Program(program.module(), slots, open_batch, frozenset(classes))


def _slot(position: int, tensor: Any) -> Slot:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.ndim == 0:
        raise ModelError(f"its input {position} is no tensor with a batch: {type(tensor).__name__}")
    return Slot(f"args_{position}", tuple(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."))


def _answers(program: Program, rows: Sequence[Array]) -> dict[str, Array]:
    """Return what PyTorch answers, float32 [n, ...] for each output by its name."""
    import torch

    step = _BATCH if program.open_batch else 1
    parts: dict[str, list[Array]] = {}
    for start in range(0, len(rows[0]), step):
        few = [torch.from_numpy(np.ascontiguousarray(array[start : start + step])) for array in rows]
        try:
            given = _named(program.module(*_as_taken(program, few)))
        except Exception as error:  # what the module's code raises
            raise ModelError(f"it cannot be run: {one_line(error)}") from error
        for name, tensor in given.items():
            parts.setdefault(name, []).append(tensor.detach().to(torch.float32).numpy())
    return {name: np.concatenate(series) for name, series in parts.items()}


def _as_taken(program: Program, tensors: Sequence[Any]) -> tuple[Any, ...]:
    """Return `tensors` in the dtypes that the module takes; a device's are narrower."""
    import torch

    return tuple(
        tensor.to(getattr(torch, slot.dtype)) if slot.dtype else tensor
        for slot, tensor in zip(program.slots, tensors, strict=True)
    )


def _named(given: Any) -> dict[str, Any]:
    """Return the outputs by the names that litert-torch gives them."""
    import torch

    if isinstance(given, dict):
        return given
    leaves = torch.utils._pytree.tree_leaves(given)
    return {f"output_{position}": leaf for position, leaf in enumerate(leaves)}


def _to_tflite(program: Program, specs: Sequence[InputSpec], outputs: Sequence[str]) -> bytes:
    import litert_torch
    import torch

    ones = [torch.zeros((1, *spec.shape), dtype=getattr(torch, spec.dtype)) for spec in specs]
    try:
        flat = bytes(litert_torch.convert(program.module, _as_taken(program, ones)).model_content())
    except Exception as error:  # exporting and lowering raise what they like
        raise ModelError(not_lowered(str(error), one_line(error))) from error
    check_stateless(flat)
    custom = sorted(
        name.removeprefix("custom ") for name in operator_names(flat) if name.startswith("custom ")
    )
    if custom:
        raise ModelError(
            f"plain TFLite has no operator for {', '.join(custom)}: build that part of other layers"
        )
    return in_order(flat, [spec.name for spec in specs], outputs)


def _traits(program: Program, tflite: bytes) -> frozenset[Trait]:
    traits: set[Trait] = set()
    if runs_loops(tflite) or program.classes & {"RNN", "LSTM", "GRU", "RNNBase"}:
        traits.add("recurrent")
    if any("Attention" in name or "Transformer" in name for name in program.classes):
        traits.add("attention")
    return frozenset(traits)


def _axes(specs: Sequence[InputSpec]) -> list[str]:
    images = [spec.name for spec in specs if len(spec.shape) == 3]
    return [f"{', '.join(images)}: axes stay as PyTorch has them, channels first"] if images else []


def main(arguments: list[str]) -> int:
    """Be the child."""
    folder, function = arguments
    return be_child([folder], lambda job: work(job, function))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
