"""The child that converts a SavedModel: `python -m converter.adapters.saved_model_child FOLDER`.

A signature names its inputs and outputs but does not order them: they stand in the order of their names.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from converter.adapters.child import one_line
from converter.adapters.source_child import Answered, Job, be_child
from converter.adapters.tflite_file import check_stateless, in_order, runs_loops
from converter.refusals import not_expressed
from converter.signatures import Slot, choose_signature, fixed, settled
from converter.source import Array, InputSpec
from wire.errors import ModelError

#: Rows that are answered at once, where the signature leaves the batch open.
_BATCH: Final = 256


def work(job: Job) -> Answered:
    """Load, run and convert the SavedModel that `job` names."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(job.path))
    except Exception as error:  # damaged protobufs, missing variables, unknown operators: all kinds
        raise ModelError(f"TensorFlow cannot load it: {one_line(error)}") from error
    name = choose_signature(list(loaded.signatures), job.options.signature)
    signature = loaded.signatures[name]
    slots = [_slot(key, spec) for key, spec in sorted(_inputs(signature).items())]
    specs = fixed(slots, job.rows)
    outputs = sorted(signature.structured_outputs)
    rows = job.bound(specs)
    tflite = _to_tflite(loaded, signature, specs, outputs)
    return Answered(
        tflite=tflite,
        inputs=specs,
        outputs=tuple(outputs),
        rows=rows,
        answers=_answers(signature, specs, outputs, rows),
        traits=frozenset({"recurrent"} if runs_loops(tflite) else ()),
        versions={"tensorflow": tf.__version__},
        notes=tuple(settled(slots, specs)),
    )


def _inputs(signature: Any) -> Mapping[str, Any]:
    """Return the TensorSpec of each input by its name."""
    inputs: Mapping[str, Any] = signature.structured_input_signature[1]
    return inputs


def _slot(name: str, spec: Any) -> Slot:
    if spec.shape.rank is None:
        return Slot(name, None, spec.dtype.name)
    batch, *row = tuple(spec.shape) or ("none",)
    if batch not in (None, 1):
        raise ModelError(
            f"the batch of its input {name} is {batch}: save it with a batch of 1 or an open one"
        )
    return Slot(name, tuple(row), spec.dtype.name)


def _to_tflite(loaded: Any, signature: Any, specs: Sequence[InputSpec], outputs: Sequence[str]) -> bytes:
    import tensorflow as tf

    names, dtypes = [spec.name for spec in specs], _inputs(signature)

    def call(*tensors: Any) -> Any:
        named = zip(names, tensors, strict=True)
        return signature(**{name: tf.cast(tensor, dtypes[name].dtype) for name, tensor in named})

    one = [tf.TensorSpec((1, *spec.shape), spec.dtype, name=spec.name) for spec in specs]
    try:
        concrete = tf.function(call, input_signature=one, autograph=False).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], loaded)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        flat: bytes = converter.convert()
    except Exception as error:  # ConverterError, and whatever MLIR's Python side raises
        raise ModelError(not_expressed(str(error), (), one_line(error))) from error
    check_stateless(flat)
    return in_order(flat, names, outputs)


def _answers(
    signature: Any, specs: Sequence[InputSpec], outputs: Sequence[str], rows: Sequence[Array]
) -> tuple[Array, ...]:
    """Return what TensorFlow answers, float32 [n, ...] for each output."""
    import tensorflow as tf

    inputs = _inputs(signature)
    fixed = any(spec.shape.rank is not None and spec.shape[0] is not None for spec in inputs.values())
    step = 1 if fixed else _BATCH
    parts: list[list[Array]] = [[] for _ in outputs]
    for start in range(0, len(rows[0]), step):
        few = {
            spec.name: tf.constant(array[start : start + step], inputs[spec.name].dtype)
            for spec, array in zip(specs, rows, strict=True)
        }
        given = signature(**few)
        for series, name in zip(parts, outputs, strict=True):
            series.append(np.asarray(given[name], np.float32))
    return tuple(np.concatenate(series) for series in parts)


def main(arguments: list[str]) -> int:
    """Be the child."""
    return be_child(arguments, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
