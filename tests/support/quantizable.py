"""Small models to quantize, as float32 TFLite: trained and converted in one child, once a session."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROOT: Final = Path(__file__).parents[2]
NAMES: Final = ("digits", "digits_head", "wine", "lstm", "two", "matmul")


@dataclass(frozen=True)
class Quantizable:
    """One model, rows [n, ...] of each input to calibrate and to test it, and the classes of the latter."""

    tflite: bytes
    samples: tuple[Array, ...]
    rows: tuple[Array, ...]
    classes: Array


@functools.cache
def quantizable() -> dict[str, Quantizable]:
    """Return the models by name.

    `digits` is a CNN, `digits_head` the same with its last layer trained on; `wine` has a
    Normalization layer in front of columns of very different size; `lstm` runs in a loop; `two` has
    an input of integers and one of floats; `matmul` multiplies by constant matrices.
    """
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, __file__, name]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
        return {model: _read(Path(name), model) for model in NAMES}


def _read(folder: Path, name: str) -> Quantizable:
    with np.load(folder / f"{name}.npz") as arrays:
        inputs = [arrays[f"x{i}"] for i in range(len(arrays.files) - 1)]
        classes = arrays["classes"]
    half = len(classes)
    return Quantizable(
        (folder / f"{name}.tflite").read_bytes(),
        tuple(rows[half:] for rows in inputs),
        tuple(rows[:half] for rows in inputs),
        classes,
    )


def main(folder: Path) -> None:
    """Be the child."""
    import keras
    import tensorflow as tf
    from sklearn.datasets import load_wine

    from demo.train import load_digits, make_model

    layers, random = keras.layers, np.random.default_rng(0)
    keras.utils.set_random_seed(1)

    def save(name: str, model: Any, rows: list[Array], samples: list[Array], classes: Array) -> None:
        ones = [keras.Input(batch_shape=(1, *i.shape[1:]), dtype=i.dtype, name=i.name) for i in model.inputs]
        whole = keras.Model(ones, model(ones if len(ones) > 1 else ones[0]), name="model")
        (folder / f"{name}.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(whole).convert())
        inputs = {f"x{i}": np.concatenate(pair) for i, pair in enumerate(zip(rows, samples, strict=True))}
        np.savez(folder / f"{name}.npz", classes=classes, **inputs)

    def fit(model: Any, x: Array, y: Array, rate: float, epochs: int) -> None:
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)

    digits = load_digits()
    cnn = make_model()
    fit(cnn, digits.x_train, digits.y_train, 2e-3, 4)
    save("digits", cnn, [digits.x_test[:200]], [digits.x_train[:120]], digits.y_test[:200])
    for layer in cnn.layers[:-1]:
        layer.trainable = False
    fit(cnn, digits.x_train, digits.y_train, 1e-3, 1)
    save("digits_head", cnn, [digits.x_test[:200]], [digits.x_train[:120]], digits.y_test[:200])

    x, y = load_wine(return_X_y=True)
    order = random.permutation(len(x))
    x, y = x[order].astype(np.float32), y[order]
    scaler = layers.Normalization()
    scaler.adapt(x[60:])
    dense = [layers.Dense(32, activation="relu"), layers.Dense(3, activation="softmax")]
    wine = keras.Sequential([keras.Input((13,)), scaler, *dense])
    fit(wine, x[60:], y[60:], 1e-2, 15)
    save("wine", wine, [x[:60]], [x[60:]], y[:60])

    steps = random.normal(size=(60, 8, 5)).astype(np.float32)
    lstm = keras.Sequential([keras.Input(batch_shape=(1, 8, 5)), layers.LSTM(16), layers.Dense(4)])
    save("lstm", lstm, [steps[:30]], [steps[30:]], np.zeros(30))

    ids, features = keras.Input((6,), dtype="int32", name="ids"), keras.Input((4,), name="features")
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(50, 8)(ids)), features])
    two = keras.Model([ids, features], layers.Dense(3)(layers.Dense(16, activation="relu")(joined)))
    words = random.integers(0, 50, (60, 6)).astype(np.int32)
    numbers = random.normal(size=(60, 4)).astype(np.float32)
    save("two", two, [words[:30], numbers[:30]], [words[30:], numbers[30:]], np.zeros(30))

    class Matrices(layers.Layer):  # type: ignore[misc,name-defined]  # Keras has no types
        def build(self, shape: Any) -> None:
            self.matrices = self.add_weight(shape=(4, 16, 24))

        def call(self, inputs: Any) -> Any:
            return tf.matmul(inputs, self.matrices)

    grid = keras.Input((4, 8, 16))
    matmul = keras.Model(grid, layers.Dense(5)(layers.Flatten()(Matrices()(grid))))
    cells = random.normal(size=(60, 4, 8, 16)).astype(np.float32)
    save("matmul", matmul, [cells[:30]], [cells[30:]], np.zeros(30))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
