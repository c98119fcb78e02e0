"""The child that holds TensorFlow: `python -m converter.adapters.keras_child FOLDER MODEL`.

Reads `inputs.npy` in FOLDER, writes `answers.npy` and `model.tflite`.

- The converter can end its process with a segmentation fault (quantizing an LSTM does), and Keras
  numbers its tensors per process: two conversions in one differ in bytes, so deltas would suffer.
- Built-in operators only: what Keras' own export adds silently (Flex) no small board runs.
- Batch 1 is fixed: a dynamic batch costs speed, and recurrent layers do not convert with one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from converter.adapters.child import answer, one_line
from converter.evaluation import Array
from wire.errors import DataError, ModelError


def work(folder: Path, path: Path) -> dict[str, Any]:
    """Load, run and convert the model at `path`."""
    import keras

    inputs = np.load(folder / "inputs.npy")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever a layer's code raises
        raise ModelError(f"Keras cannot load it: {one_line(error)}") from error
    _check(model, inputs)
    answers = np.asarray(model.predict(inputs, batch_size=256, verbose=0), np.float32)
    if answers.ndim != 2:
        raise ModelError(
            f"its output has shape {list(answers.shape[1:])}: one number for each class is needed"
        )
    if not np.isfinite(answers).all():
        raise ModelError("its outputs on x_test are not finite")
    np.save(folder / "answers.npy", answers)
    (folder / "model.tflite").write_bytes(_to_tflite(model, inputs.shape[1:]))
    return {}


def _check(model: Any, inputs: Array) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one of each is supported"
        )
    tensor = model.inputs[0]
    if tensor.dtype != "float32":
        raise ModelError(f"its input is {tensor.dtype}; float32 is supported")
    wanted, given = list(tensor.shape[1:]), list(inputs.shape[1:])
    fits = len(wanted) == len(given) and all(w in (None, g) for w, g in zip(wanted, given, strict=True))
    if not fits:
        raise DataError(f"a row of x_test is {given}, the model takes {wanted}")


def _to_tflite(model: Any, row: tuple[int, ...]) -> bytes:
    import keras
    import tensorflow as tf

    # A size that the model leaves open becomes the data's: a tensor of a device has one shape.
    one = keras.Input(batch_shape=(1, *row), dtype="float32", name="input")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(one, model(one), name="model"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        flat: bytes = converter.convert()
    except Exception as error:  # ConverterError, and whatever MLIR's Python side raises
        raise ModelError(f"plain TFLite cannot express it: {one_line(error)}") from error
    return flat


def main(arguments: list[str]) -> int:
    """Be the child."""
    folder, path = (Path(argument) for argument in arguments)
    return answer(folder, lambda: work(folder, path))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
