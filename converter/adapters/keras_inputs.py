"""What a Keras model takes: its inputs in its own order, and values in the structure it wants. Children only.

Keras numbers the names it makes up by what else its process built, so an only input is called "input"
where its name is made up: a name in a manifest must be the same in every version of a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from converter import signatures
from converter.signatures import Slot
from converter.source import Array, InputSpec
from wire.errors import ModelError

#: What TensorFlow takes in no name of an argument, though Keras does.
_NO_NAME: Final = re.compile(r"[^\w.-]")
_MADE_UP: Final = ("input_layer", "input_", "keras_tensor")


def input_specs(model: Any, rows: Mapping[str, Array] | None) -> tuple[InputSpec, ...]:
    """Describe the inputs of `model` in its order; sizes that it leaves open are taken from `rows`.

    `rows` are [n, ...] by input name, "" for the only one. Raises ModelError when a size stays open,
    DataError when the rows have another number of axes.
    """
    return signatures.fixed(_slots(model), rows)


def input_names(model: Any) -> list[str]:
    """Return the names of the inputs of `model` in its order."""
    return [slot.name for slot in _slots(model)]


def settled(model: Any, specs: Sequence[InputSpec]) -> list[str]:
    """Return a line for each input whose size the model leaves open."""
    return signatures.settled(_slots(model), specs)


def fed(model: Any, values: Sequence[Any]) -> Any:
    """Return `values`, one for each input in the order of `input_specs`, as the structure `model` takes."""
    import keras

    if getattr(model, "inputs", None):
        # A Sequential is a model around a functional one, and only that one knows the structure.
        return keras.tree.pack_sequence_as(getattr(model, "_functional", model).input, list(values))
    shapes = _built_shapes(model)
    if isinstance(shapes, dict):
        return dict(zip(sorted(shapes), values, strict=True))
    return list(values) if _holds_shapes(shapes) else values[0]


def _slots(model: Any) -> list[Slot]:
    if getattr(model, "inputs", None):
        slots = [
            Slot(_NO_NAME.sub("_", tensor.name), tuple(tensor.shape[1:]), str(tensor.dtype))
            for tensor in model.inputs
        ]
    else:
        slots = [Slot(name, tuple(shape[1:])) for name, shape in _named_shapes(_built_shapes(model))]
    if len(slots) == 1 and (slots[0].name.startswith(_MADE_UP) or slots[0].name.endswith("_input")):
        return [Slot("input", slots[0].shape, slots[0].dtype)]
    return slots


def _built_shapes(model: Any) -> Any:
    """Return what a subclassed model was built for: a shape, or a list or dict of shapes."""
    known = getattr(model, "_build_shapes_dict", None) or {}
    if len(known) != 1:
        raise ModelError(
            f"its class {type(model).__name__} does not say which input it takes: give `call` one argument "
            "(an array, a list or a dict of them) and call it on data before it is saved"
        )
    return next(iter(known.values()))


def _named_shapes(shapes: Any) -> list[tuple[str, Any]]:
    if isinstance(shapes, dict):
        return sorted(shapes.items())
    if _holds_shapes(shapes):
        return [(f"input_{position}", shape) for position, shape in enumerate(shapes)]
    return [("input", shapes)]


def _holds_shapes(shapes: Any) -> bool:
    return bool(shapes) and all(isinstance(shape, (list, tuple)) for shape in shapes)
