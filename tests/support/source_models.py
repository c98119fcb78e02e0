"""Models of every kind as files, for tests: `python tests/support/source_models.py FOLDER`.

They are made in a process of their own: what it registers, the one that converts must not know.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from converter.adapters.keras_source import save_keras

#: The file with the layer classes of `own.keras`, as a user keeps it.
OWN_CODE = """\
import keras
import tensorflow as tf

@keras.saving.register_keras_serializable()
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x

@keras.saving.register_keras_serializable()
class Decompose(keras.layers.Layer):
    def call(self, x):
        return tf.linalg.svd(x, compute_uv=False)

class Pair(keras.Model):
    def __init__(self, **keywords):
        super().__init__()
        self.first, self.second = keras.layers.Dense(3), keras.layers.Dense(2)
    def call(self, x):
        return {"b": self.first(x["left"]), "a": self.second(x["right"])}
"""


def make_keras(folder: Path) -> None:
    """Make the `.keras` and `.h5` files."""
    import keras

    of = keras.layers
    keras.utils.set_random_seed(1)

    def save(name: str, *layers: Any) -> Any:
        model = keras.Sequential(list(layers))
        model.save(folder / name)
        return model

    _house_prices(folder / "house_price_model.h5")
    hurt = save("nan.keras", of.Input((3,)), of.Dense(2, name="first"))
    hurt.layers[0].kernel.assign(np.full((3, 2), np.nan, np.float32))
    hurt.save(folder / "nan.keras")
    save("lstm.keras", of.Input((None, 4)), of.LSTM(6, return_sequences=True), of.LSTM(5), of.Dense(2))
    save("gru.h5", of.Input((7, 4)), of.Masking(), of.GRU(6), of.Dense(2))
    save("bidirectional.keras", of.Input((7, 4)), of.Bidirectional(of.LSTM(6)), of.Dense(2))
    save("stateful.keras", of.Input(batch_shape=(8, 7, 4)), of.LSTM(6, stateful=True, name="memory"))
    words = keras.Sequential([of.Embedding(20, 4), of.LSTM(5), of.Dense(2)])
    words.build((None, 6))
    words.save(folder / "words.keras")
    save("lambda.keras", of.Input((4,)), of.Lambda(lambda x: x * 2), of.Dense(2))
    save("bytes.keras", of.Input((8, 8, 1), dtype="uint8"), of.Rescaling(1 / 255), of.Conv2DTranspose(2, 3))
    save("weights.keras", of.Input((4,)), of.Dense(2)).save_weights(folder / "only.weights.h5")
    half = keras.DTypePolicy("mixed_float16")
    save("half.keras", of.Input((6,)), of.Dense(4, activation="relu", dtype=half), of.Dense(2))
    _several(folder / "several.keras")
    series = keras.Input((6, 8))
    seen = of.MultiHeadAttention(2, 4)(series, series)
    keras.Model(series, of.Dense(3, "softmax")(of.Flatten()(seen))).save(folder / "attention.keras")
    text = keras.Input((), dtype="string")
    keras.Model(text, of.StringLookup(vocabulary=["a"])(text)).save(folder / "text.keras")
    scaler = of.Normalization()
    scaler.adapt(np.random.default_rng(0).normal(5, 3, (50, 4)))
    save("normalized.keras", of.Input((4,)), scaler, of.Dense(3))


def make_with_own_code(folder: Path) -> None:
    """Make the files that need the classes of `own.py`."""
    import keras

    (folder / "own.py").write_text(OWN_CODE)
    (folder / "broken.py").write_text("import keras\nraise RuntimeError('no data\\nat all')\n")
    own: dict[str, Any] = {"__name__": "own"}
    exec(OWN_CODE, own)  # the text above
    row = keras.Input((4,))
    keras.Model(row, keras.layers.Dense(2)(own["Twice"]()(row))).save(folder / "own.keras")
    square = keras.Input((4, 4))
    odd = own["Decompose"](name="odd")(square)
    keras.Model(square, keras.layers.Dense(2)(odd)).save(folder / "svd.keras")
    pair = own["Pair"]()
    pair({"left": np.zeros((1, 4), np.float32), "right": np.zeros((1, 5), np.float32)})
    pair.save(folder / "pair.keras")


def make_from_objects(folder: Path) -> None:
    """Save models as the API does that takes them as objects."""
    import keras

    of = keras.layers
    (folder / "plain").mkdir()
    save_keras(keras.Sequential([of.Input((4,)), of.Dense(2, "relu")]), folder / "plain")
    (folder / "private").mkdir()
    layers = [of.Input((7, 4)), of.Lambda(lambda x: x * 2), of.LSTM(3), of.Dense(2, activation=lambda x: -x)]
    save_keras(keras.Sequential(layers), folder / "private")


def make_saved_models(folder: Path) -> None:
    """Make the SavedModel folders, and the `.tflite` files that TensorFlow alone makes."""
    import keras
    import tensorflow as tf

    several = keras.saving.load_model(folder / "several.keras")
    several.export(folder / "several", verbose=False)
    recurrent = keras.saving.load_model(folder / "gru.h5", compile=False)
    recurrent.export(folder / "recurrent", verbose=False)

    signature = [tf.TensorSpec((None, 4), name="x")]

    class Scale(tf.Module):  # type: ignore[misc]  # TensorFlow has no type information
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(tf.random.normal((4, 3), seed=1))

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # as above
        def once(self, x: Any) -> Any:
            return {"y": x @ self.factor}

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # as above
        def often(self, x: Any) -> Any:
            _, x = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 2.0), (0, x))
            return {"z": x @ self.factor}

    scale = Scale()
    tf.saved_model.save(scale, folder / "scale", signatures={"once": scale.once, "often": scale.often})
    tf.saved_model.save(scale, folder / "unsigned")
    scales = tf.lite.TFLiteConverter.from_saved_model(str(folder / "scale"), signature_keys=["once", "often"])
    (folder / "scales.tflite").write_bytes(scales.convert())


def make_tflite(folder: Path) -> None:
    """Make the `.tflite` files of Keras models."""
    import keras
    import tensorflow as tf

    of = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    model = keras.Model(image, of.Dense(3, "softmax")(of.Flatten()(of.Conv2D(4, 3)(image))))

    def write(name: str, model: Any, **settings: Any) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        for setting, value in settings.items():
            setattr(converter, setting, value)
        flat: bytes = converter.convert()
        (folder / name).write_bytes(flat)
        return flat

    flat = write("float.tflite", model)
    (folder / "cut.tflite").write_bytes(flat[: len(flat) // 2])
    (folder / "text.tflite").write_bytes(b"hello, world")
    (folder / "zipped.tflite").write_bytes(flat)
    with zipfile.ZipFile(folder / "zipped.tflite", "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc")
    rows = np.random.default_rng(0).random((5, 1, 8, 8, 1), np.float32)
    write(
        "int8.tflite",
        model,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: [[row] for row in rows],
    )
    series = keras.Input((None, 4), name="series")
    write("open.tflite", keras.Model(series, of.GlobalAveragePooling1D()(of.Conv1D(5, 3)(series))))
    square = keras.Input((4, 4))

    class Determinant(of.Layer):  # type: ignore[misc, name-defined]  # Keras has no type information
        def call(self, x: Any) -> Any:
            return tf.linalg.det(x)[:, None]

    flexible = tf.lite.TFLiteConverter.from_keras_model(keras.Model(square, Determinant()(square)))
    flexible.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (folder / "flex.tflite").write_bytes(flexible.convert())


def _house_prices(path: Path) -> None:
    """Train and save the first model of many a tutorial: no input layer, a loss that is a mere name."""
    import keras

    areas = np.linspace(50, 200, 20).reshape(-1, 1) / 100
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mse"])
    model.fit(areas, 2 * areas + 0.5, epochs=2, verbose=0)
    model.save(path)


def _several(path: Path) -> None:
    """Save a model of two inputs and two outputs, neither in the order of their names."""
    import keras

    of = keras.layers
    words, features = keras.Input((6,), name="words", dtype="int32"), keras.Input((4,), name="features")
    known = of.Flatten()(of.Embedding(10, 3)(words))
    kind = of.Dense(3, activation="softmax", name="kind")(of.Concatenate()([features, known]))
    amount = of.Dense(2, name="amount")(features)
    keras.Model([words, features], [kind, amount]).save(path)


def main(folder: Path) -> None:
    make_keras(folder)
    make_with_own_code(folder)
    make_from_objects(folder)
    make_saved_models(folder)
    make_tflite(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
