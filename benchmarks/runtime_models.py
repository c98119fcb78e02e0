"""The models that the runtime's benchmarks run: made once with TensorFlow, in a child process.

dense        16 to 32 to 8, float32: runs in about 1 us, so each frame of Python shows
cnn          64x64x3, three convolutions, float32
cnn_int8     the same with int8 weights, activations, inputs and outputs
mobilenet    MobileNetV2 224x224x3, float32, with random weights: 14 MB
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

NAMES: Final = ("dense", "cnn", "cnn_int8", "mobilenet")


def runtime_models(folder: Path) -> dict[str, Path]:
    """Return the models by name; those that `folder` lacks are made."""
    paths = {name: folder / f"{name}.tflite" for name in NAMES}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    return paths


def main(folder: Path) -> None:
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    layers = keras.layers
    dense = keras.Sequential([keras.Input((16,)), layers.Dense(32, "relu"), layers.Dense(8)])
    cnn = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            *(layers.Conv2D(n, 3, strides=2, activation="relu") for n in (16, 32, 64)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, "softmax"),
        ]
    )
    mobilenet = keras.applications.MobileNetV2(weights=None)

    def convert(model: keras.Model, *, int8: bool = False) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if int8:
            rng = np.random.default_rng(1)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [rng.random((1, *model.input_shape[1:]), np.float32)] for _ in range(50)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())

    for name, content in (
        ("dense", convert(dense)),
        ("cnn", convert(cnn)),
        ("cnn_int8", convert(cnn, int8=True)),
        ("mobilenet", convert(mobilenet)),
    ):
        (folder / f"{name}.tflite").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
