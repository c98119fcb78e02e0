"""Keras models to fine-tune, made in one child, once a session."""

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

from converter.dataset import Samples
from converter.source import InputSpec

Array = npt.NDArray[Any]

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Trainable:
    """A file that can be fine-tuned, its inputs, and the rows for it; `test` measures."""

    file: Path
    inputs: tuple[InputSpec, ...]
    train: Samples
    test: Samples


@functools.cache
def trainable() -> dict[str, Trainable]:
    """Return the models by name, in a folder that lasts as long as the session.

    `kinds` tells digits apart by a convolution of every kind, with BatchNormalization before and
    behind; `two` takes words and numbers, and gives logits and a value; its first layers are frozen.
    """
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    command = [sys.executable, __file__, folder.name]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    return {name: _read(Path(folder.name), name) for name in ("kinds", "two")}


_FOLDERS: Final[list[tempfile.TemporaryDirectory[str]]] = []


def _read(folder: Path, name: str) -> Trainable:
    with np.load(folder / f"{name}.npz") as arrays:
        rows = {key: array for key, array in arrays.items() if key != "truth"}
        truth = arrays["truth"]
    inputs = tuple(InputSpec(key, str(array.dtype), array.shape[1:]) for key, array in rows.items())
    half = len(truth) // 2
    train = Samples(tuple(array[:half] for array in rows.values()), truth[:half])
    test = Samples(tuple(array[half:] for array in rows.values()), truth[half:])
    return Trainable(folder / f"{name}.keras", inputs, train, test)


def main(folder: Path) -> None:
    """Be the child."""
    import keras
    from sklearn.datasets import load_digits

    of, random = keras.layers, np.random.default_rng(0)
    keras.utils.set_random_seed(1)
    images, digits = load_digits(return_X_y=True)
    x = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    kinds = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            of.Conv2D(24, 3, use_bias=False, name="conv"),
            of.BatchNormalization(momentum=0.8),
            of.ReLU(),
            of.DepthwiseConv2D(3, padding="same", name="by_channel"),
            of.SeparableConv2D(32, 3, activation="relu", name="separable"),
            of.Conv2DTranspose(16, 3, strides=2, activation="relu", name="transposed"),
            of.Flatten(),
            of.BatchNormalization(momentum=0.8),
            of.Dense(48, activation="relu", name="dense"),
            of.Dropout(0.2),
            of.Dense(10, activation="softmax", name="digit"),
        ]
    )
    kinds.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    kinds.fit(x[:900], digits[:900], epochs=6, batch_size=32, verbose=0)
    kinds.save(folder / "kinds.keras")
    np.savez(folder / "kinds.npz", image=x, truth=digits)

    words, numbers = keras.Input((6,), dtype="int32", name="words"), keras.Input((4,), name="numbers")
    looked_up = of.Flatten()(of.Embedding(100, 8, name="embedding")(words))
    hidden = of.Dense(32, activation="tanh", name="hidden")(of.Concatenate()([looked_up, numbers]))
    two = keras.Model(
        [words, numbers], [of.Dense(3, name="class")(hidden), of.Dense(1, name="value")(hidden)]
    )
    two.layers[1].trainable = False
    two.save(folder / "two.keras")
    ids, x = random.integers(0, 100, (400, 6)).astype(np.int32), random.normal(size=(400, 4))
    np.savez(folder / "two.npz", words=ids, numbers=x.astype(np.float32), truth=np.argmax(x[:, :3], 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
