"""Two small CNNs and two MobileNetV2, untrained, as bundles: what swap.py and footprint.py serve.

    python -m benchmarks.vision_nets FOLDER

Speed and memory do not ask what the weights are. The golden set is two images of noise.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from wire.adapters.processes import python_environment, python_module
from wire.bundle import Bundle, pack
from wire.manifest import Golden, Manifest, TensorSpec

NETS = ("cnn", "mobilenet")
_GOLDEN = 2
SHAPES = {"cnn": (96, 96, 3), "mobilenet": (224, 224, 3)}


def bundles(folder: Path, net: str) -> tuple[Path, Path]:
    """Return two bundles of `net` in `folder`, made by TensorFlow in a child if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = (folder / f"{net}-1.bundle", folder / f"{net}-2.bundle")
    if not all(path.exists() for path in pair):
        command = python_module("benchmarks.vision_nets", str(folder))
        subprocess.run(command, env=python_environment(), check=True, capture_output=True)
    return pair


def cnn() -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(SHAPES["cnn"]),
            layers.Conv2D(24, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def mobilenet() -> Any:
    import keras

    return keras.applications.MobileNetV2(weights=None)


def bundle_of(net: str, version: int, tflite: bytes) -> bytes:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    images = np.random.default_rng(0).random((_GOLDEN, *SHAPES[net]), np.float32)
    answers = []
    for image in images:
        interpreter.set_tensor(given["index"], image[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(got["index"])[0])
    golden = io.BytesIO()
    np.savez(golden, inputs=images, expected=np.asarray(answers))
    manifest = Manifest(
        model=net,
        version=str(version),
        recipe="float32",
        tflite_sha256=hashlib.sha256(tflite).hexdigest(),
        tflite_bytes=len(tflite),
        inputs=(_spec(given),),
        outputs=(_spec(got),),
        golden=Golden(_GOLDEN, 1e-3),
    )
    return pack(Bundle(manifest, tflite, (), golden.getvalue()))


def _spec(details: dict[str, Any]) -> TensorSpec:
    return TensorSpec(details["name"], "float32", tuple(int(n) for n in details["shape"]))


def main(folder: Path) -> None:
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    for net, make in (("cnn", cnn), ("mobilenet", mobilenet)):
        for version in (1, 2):
            keras.utils.set_random_seed(version)
            model = make()
            function = tf.function(lambda x, model=model: model(x, training=False))
            concrete = function.get_concrete_function(tf.TensorSpec([1, *SHAPES[net]], tf.float32))
            # Keras 3 leaves its weights as variables, which keeps most of the graph from XNNPACK.
            frozen = convert_variables_to_constants_v2(concrete)
            tflite = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
            path = folder / f"{net}-{version}.bundle"
            path.write_bytes(bundle_of(net, version, tflite))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
