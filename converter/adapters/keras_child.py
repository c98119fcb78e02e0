"""The child that converts a Keras file: `python -m converter.adapters.keras_child FOLDER`.

The converter can end its process with a segmentation fault, and Keras numbers its tensors per process:
two conversions in one differ in bytes, so updates would suffer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from converter.adapters.keras_model import fed, input_specs, layers, open_model, settled, to_tflite
from converter.adapters.source_child import Answered, Job, be_child
from converter.source import Array, InputSpec, Trait

#: Rows that are answered at once.
_BATCH: Final = 256


def work(job: Job) -> Answered:
    """Load, run and convert the model that `job` names."""
    import keras
    import tensorflow as tf

    model, notes = open_model(job.path, job.options.code)
    specs = input_specs(model, job.rows)
    rows = job.bound(specs, _limits(model, specs))
    answers, names = _answers(model, rows)
    return Answered(
        tflite=to_tflite(model, specs),
        inputs=specs,
        outputs=names,
        rows=rows,
        answers=answers,
        traits=_traits(model),
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
        notes=(*notes, *settled(model, specs)),
    )


def _answers(model: Any, rows: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[str, ...]]:
    """Return what Keras answers, float32 [n, ...] for each output, and the outputs' names."""
    import keras

    fixed = any(tensor.shape[0] is not None for tensor in getattr(model, "inputs", None) or [])
    given = model.predict(fed(model, rows), batch_size=1 if fixed else _BATCH, verbose=0)
    answers = tuple(np.asarray(array, np.float32) for array in keras.tree.flatten(given))
    if isinstance(given, dict) and len(given) == len(answers):
        return answers, tuple(str(name) for name in sorted(given))
    names = tuple(str(name) for name in getattr(model, "output_names", None) or ())
    if len(answers) == 1:
        names = ("output",)
    elif len(set(names)) != len(answers):
        names = tuple(f"output_{position}" for position in range(len(answers)))
    return answers, names


def _traits(model: Any) -> frozenset[Trait]:
    import keras

    traits: set[Trait] = {"trainable"}
    for layer in layers(model):
        if isinstance(layer, keras.layers.RNN):
            traits.add("recurrent")
        if "Attention" in type(layer).__name__:
            traits.add("attention")
        if isinstance(layer, (keras.layers.Normalization, keras.layers.Rescaling)):
            traits.add("normalizes")
    return frozenset(traits)


def _limits(model: Any, specs: Sequence[InputSpec]) -> dict[str, int]:
    """Return below which number whole inputs must stay: an embedding has so many rows."""
    import keras

    sizes = [layer.input_dim for layer in layers(model) if isinstance(layer, keras.layers.Embedding)]
    whole = [spec.name for spec in specs if not spec.dtype.startswith("float")]
    return dict.fromkeys(whole, min(sizes)) if sizes else {}


def main(arguments: list[str]) -> int:
    """Be the child."""
    return be_child(arguments, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
