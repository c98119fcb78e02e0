"""Models of the kinds that a plain classifier is not: made once a session, in a child with TensorFlow.

two.tflite         inputs `left` [1, 3] and `right` [1, 2], outputs `total` [1, 1] and `both` [1, 5]
counter.tflite     stateful: adds its input [1] to what it was given before
functions.tflite   signatures `double` and `negate`, each from `x` [1, 2] to `y` [1, 2]
dense.tflite       [1, 4] to [1, 3], of any batch size
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAMES = ("two", "counter", "functions", "dense", "scalar", "selected", "shaped")


def make(folder: Path) -> dict[str, Path]:
    """Return the models by name, made in `folder`."""
    subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True)
    return {name: folder / f"{name}.tflite" for name in NAMES}


def main(folder: Path) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)

    class Two(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        @tf.function(
            input_signature=[
                tf.TensorSpec([1, 3], tf.float32, name="left"),
                tf.TensorSpec([1, 2], tf.float32, name="right"),
            ]
        )
        def __call__(self, left, right):  # type: ignore[no-untyped-def]
            both = tf.concat([left, right], axis=1)
            return {"both": both, "total": tf.reduce_sum(both, axis=1, keepdims=True)}

    class Counter(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        def __init__(self) -> None:
            super().__init__()
            self.total = tf.Variable([0.0])

        @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
        def __call__(self, x):  # type: ignore[no-untyped-def]
            self.total.assign_add(x + 1.0)
            return {"total": self.total.read_value()}

    class Functions(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32, name="x")])
        def double(self, x):  # type: ignore[no-untyped-def]
            return {"y": x * 2.0}

        @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32, name="x")])
        def negate(self, x):  # type: ignore[no-untyped-def]
            return {"y": -x}

    class Scalar(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def __call__(self, x):  # type: ignore[no-untyped-def]
            return {"y": x * 2.0}

    class Selected(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        @tf.function(input_signature=[tf.TensorSpec([1, 6], tf.float32, name="x")])
        def __call__(self, x):  # type: ignore[no-untyped-def]
            return {"y": tf.boolean_mask(x, x > 0)}

    class Shaped(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        @tf.function(input_signature=[tf.TensorSpec([1, 4, 6], tf.float32, name="x")])
        def __call__(self, x):  # type: ignore[no-untyped-def]
            """Operators that are steered by constants: axes, sizes, shapes."""
            padded = tf.pad(tf.transpose(x, [0, 2, 1]), [[0, 0], [1, 1], [0, 2]], constant_values=0.5)
            large = tf.image.resize(tf.expand_dims(padded[:, 1:, ::2], -1), [8, 8])
            left, right = tf.split(tf.tile(large, [1, 1, 2, 1]), 2, axis=2)
            parts = [tf.reduce_mean(left, [1, 3]), tf.reduce_max(right, [2, 3]), tf.reduce_sum(large, [1, 3])]
            return {"y": tf.reshape(tf.stack(parts, axis=1)[:, :, 1:7], [1, 18])}

    def write(name: str, module: tf.Module, functions: dict[str, object]) -> None:
        saved = folder / name
        tf.saved_model.save(module, str(saved), signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=list(functions))
        converter.experimental_enable_resource_variables = True
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    two, counter, functions = Two(), Counter(), Functions()
    write("two", two, {"serving_default": two.__call__})
    write("counter", counter, {"serving_default": counter.__call__})
    scalar, selected, shaped = Scalar(), Selected(), Shaped()
    write("shaped", shaped, {"serving_default": shaped.__call__})
    write("selected", selected, {"serving_default": selected.__call__})
    write("scalar", scalar, {"serving_default": scalar.__call__})
    write("functions", functions, {"double": functions.double, "negate": functions.negate})
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    (folder / "dense.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(dense).convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
