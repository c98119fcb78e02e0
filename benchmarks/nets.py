"""Untrained networks as bundles, two of each: what the benchmarks of the runtime serve.

    python -m benchmarks.nets FOLDER

    dense        16 to 32 to 8: runs in about 1 us, so each frame of Python shows
    cnn          96x96x3, three convolutions
    cnn_int8     the same with int8 weights, activations, inputs and outputs
    mobilenet    MobileNetV2 224x224x3: 14 MB

Speed and memory do not ask what the weights are. The golden set is two rows of noise.
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

_GOLDEN = 2
SHAPES = {"dense": (16,), "cnn": (96, 96, 3), "cnn_int8": (96, 96, 3), "mobilenet": (224, 224, 3)}


def bundles(folder: Path, net: str) -> tuple[Path, Path]:
    """Return two bundles of `net` in `folder`, made by TensorFlow in a child if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = (folder / f"{net}-1.bundle", folder / f"{net}-2.bundle")
    if not all(path.exists() for path in pair):
        command = python_module("benchmarks.nets", str(folder))
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


def dense() -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential([keras.Input(SHAPES["dense"]), layers.Dense(32, "relu"), layers.Dense(8)])


def mobilenet() -> Any:
    import keras

    return keras.applications.MobileNetV2(weights=None)


def bundle_of(net: str, version: int, tflite: bytes) -> bytes:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = noise(net, _GOLDEN)
    answers = []
    for row in rows:
        interpreter.set_tensor(given["index"], row[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(got["index"])[0])
    scale, zero = got["quantization"]
    expected = (np.asarray(answers, np.float32) - zero) * (scale or 1.0)
    golden = io.BytesIO()
    np.savez(golden, inputs=rows, expected=expected)
    manifest = Manifest(
        model=net,
        version=str(version),
        recipe="int8" if net == "cnn_int8" else "float32",
        tflite_sha256=hashlib.sha256(tflite).hexdigest(),
        tflite_bytes=len(tflite),
        inputs=(_spec(given),),
        outputs=(_spec(got),),
        golden=Golden(_GOLDEN, 0.1 if scale else 1e-3),
    )
    return pack(Bundle(manifest, tflite, (), golden.getvalue()))


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero = details["quantization"]
    dtype, shape = np.dtype(details["dtype"]).name, tuple(int(n) for n in details["shape"])
    return TensorSpec(
        details["name"], dtype, shape, float(scale) if scale else None, int(zero) if scale else None
    )


def noise(net: str, count: int) -> Any:
    """Return [count, …] rows of the network's own dtype."""
    rng = np.random.default_rng(0)
    if net == "cnn_int8":
        return rng.integers(-128, 128, (count, *SHAPES[net]), np.int8)
    return rng.random((count, *SHAPES[net]), np.float32)


def convert(net: str, model: Any) -> bytes:
    """Return the TFLite file, with frozen weights: as variables they keep most of the graph from XNNPACK."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec([1, *SHAPES[net]], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(concrete)])
    if net == "cnn_int8":
        rng = np.random.default_rng(1)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [rng.random((1, *SHAPES[net]), np.float32)] for _ in range(50)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def main(folder: Path) -> None:
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    for net, make in (("dense", dense), ("cnn", cnn), ("cnn_int8", cnn), ("mobilenet", mobilenet)):
        for version in (1, 2):
            keras.utils.set_random_seed(version)
            model = make()
            path = folder / f"{net}-{version}.bundle"
            path.write_bytes(bundle_of(net, version, convert(net, model)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
