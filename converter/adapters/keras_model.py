"""Keras models in a process that holds TensorFlow: loaded, made fit for a device, converted. Children only.

- Built-in operators only: what Keras' own export adds silently (Flex) no small board runs.
- Batch 1 is fixed: a dynamic batch costs speed, and recurrent layers do not convert with one.
- A model answers a row by that row alone: layers that keep a state between calls forget it.
- What an embedding looks up is a whole number, whatever dtype the model's input was given: as a float
  it would be quantized, and then mean another row.
- The tensors of the file stand in the model's order, whatever the converter made of it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converter.adapters.child import one_line
from converter.adapters.keras_inputs import fed, input_specs, settled
from converter.adapters.keras_legacy import tolerant_layers
from converter.adapters.own_code import import_code
from converter.adapters.tflite_file import check_stateless, in_order
from converter.refusals import not_expressed, not_loaded
from converter.source import InputSpec
from wire.errors import ModelError

__all__ = ["fed", "input_specs", "layers", "load_model", "open_model", "settled", "to_tflite"]

_HALF_FLOATS: Final = ("float16", "bfloat16")


def load_model(path: Path, code: Sequence[Path] = ()) -> Any:
    """Return the model in the `.keras` or `.h5` file, ready to be run or trained; import `code` first.

    Half-precision layers compute in float32, stateful ones start anew on each call. Raises ModelError
    with one line: it cannot be loaded, needs code, or holds weights that are not finite.
    """
    return open_model(path, code)[0]


def open_model(path: Path, code: Sequence[Path] = ()) -> tuple[Any, list[str]]:
    """Do what `load_model` does; return what was changed in the model too, a line each."""
    import keras

    saved_by, own = _saved_by(path), import_code(code)
    older = tolerant_layers() if saved_by.startswith("2.") else {}
    try:
        model = keras.saving.load_model(path, compile=False, custom_objects=older | own)
    except Exception as error:  # Keras raises whatever a layer's code raises
        reason = not_loaded(str(error), one_line(error), saved_by, keras.__version__)
        raise ModelError(reason) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"it holds a {type(model).__name__}, not a whole model")
    _check_weights(model)
    notes = [*_forget_states(model), *_compute_in_float32(model), *_look_up_by_integers(model)]
    return model, notes


def layers(model: Any) -> Iterator[Any]:
    """Yield all layers of `model`, those inside of others too, and itself first."""
    yield from model._flatten_layers(include_self=True, recursive=True)


def to_tflite(model: Any, specs: Sequence[InputSpec]) -> bytes:
    """Convert `model` to float32 TFLite for one row at a time; `specs` are its inputs' (`input_specs`).

    The same model makes the same bytes in a fresh process. Raises ModelError when plain TFLite
    cannot express it.
    """
    import keras
    import tensorflow as tf

    inputs = [keras.Input(batch_shape=(1, *spec.shape), dtype=spec.dtype, name=spec.name) for spec in specs]
    try:
        outputs = keras.tree.flatten(model(fed(model, inputs), training=False))
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, outputs, name="model"))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        flat: bytes = converter.convert()
    except Exception as error:  # ConverterError, and whatever MLIR's Python side or a layer raises
        names = {layer.name for layer in layers(model)} - {model.name}
        raise ModelError(not_expressed(str(error), names, one_line(error))) from error
    check_stateless(flat)
    return in_order(flat, [spec.name for spec in specs], [f"output_{i}" for i in range(len(outputs))])


def _saved_by(path: Path) -> str:
    """Return the version of Keras that saved a file; "" where it does not say."""
    import h5py  # type: ignore[import-untyped]  # it has no type information

    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            return str(file.attrs.get("keras_version", ""))
    except (zipfile.BadZipFile, OSError, KeyError, ValueError, TypeError):
        return ""  # loading it will say what is wrong


def _check_weights(model: Any) -> None:
    for variable in model.weights:
        values = np.asarray(variable)
        if values.dtype.kind not in "iub" and not np.isfinite(values.astype(np.float32)).all():
            layer, _, name = variable.path.rpartition("/")
            raise ModelError(
                f"the weights of layer {layer.rpartition('/')[2] or layer} ({name}) hold NaN or infinity: "
                "train it again, with a lower learning rate or on data without NaN"
            )


def _forget_states(model: Any) -> list[str]:
    stateful = [layer for layer in layers(model) if getattr(layer, "stateful", False)]
    for layer in stateful:
        layer.stateful = False
    names = ", ".join(layer.name for layer in stateful if layer is not model)
    return [f"stateful=True is not kept ({names}): on a device each row starts anew"] if names else []


def _compute_in_float32(model: Any) -> list[str]:
    import keras

    half = [layer for layer in layers(model) if getattr(layer, "compute_dtype", None) in _HALF_FLOATS]
    for layer in half:
        layer.dtype_policy = keras.DTypePolicy("float32")
    for tensor in getattr(model, "inputs", None) or []:
        if str(tensor.dtype) in _HALF_FLOATS:
            tensor._dtype = "float32"
    return [f"what computes in half precision ({len(half)} layers) does so in float32"] if half else []


def _look_up_by_integers(model: Any) -> list[str]:
    """Make an input int32 that only embeddings read; Keras gives it float32 unless told otherwise."""
    import keras

    functional = getattr(model, "_functional", model)
    changed = []
    for tensor in getattr(functional, "inputs", None) or []:
        readers = [
            operation
            for operation in functional.operations
            for node in operation._inbound_nodes
            if any(taken is tensor for taken in node.input_tensors)
        ]
        looked_up = readers and all(isinstance(reader, keras.layers.Embedding) for reader in readers)
        if looked_up and str(tensor.dtype).startswith("float"):
            tensor._dtype = "int32"
            changed.append(", ".join(sorted({reader.name for reader in readers})))
    return [f"the input of {name} is int32: an embedding looks up whole numbers" for name in changed]
