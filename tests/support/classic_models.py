"""The classic small problems, each with a Keras model trained on it. Run by path, in a process of its own.

    python tests/support/classic_models.py FOLDER

wine has features of 0.1 to 1680 and a Normalization layer, cancer is scaled beforehand and has one
sigmoid output, diabetes is a regression, and house prices are the tutorial's model: a single Dense
layer without an input layer, saved in Keras' legacy format with a loss that Keras 3 does not find.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

NAMES = ("wine", "cancer", "diabetes")


def main(folder: Path) -> None:
    """Train and save all of them in `folder`."""
    keras.utils.set_random_seed(3)
    for name, load in zip(
        NAMES, (datasets.load_wine, datasets.load_breast_cancer, datasets.load_diabetes), strict=True
    ):
        x, y = load(return_X_y=True)
        x = x.astype(np.float32)
        if name == "cancer":
            x = (x - x.mean(0)) / x.std(0)
        split = train_test_split(x, y, test_size=0.4, random_state=0)
        x_train, x_test, y_train, y_test = split
        model = make(name, x_train)
        model.fit(x_train, y_train, epochs=60, batch_size=16, verbose=0)
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    houses(folder)


def make(name: str, x_train: Any) -> Any:
    """Return a compiled network of one hidden layer."""
    layers = keras.layers
    front = []
    if name != "cancer":
        front = [layers.Normalization()]
        front[0].adapt(x_train)
    units, activation, loss = {
        "wine": (3, "softmax", "sparse_categorical_crossentropy"),
        "cancer": (1, "sigmoid", "binary_crossentropy"),
        "diabetes": (1, None, "mse"),
    }[name]
    model = keras.Sequential(
        [
            keras.Input(x_train.shape[1:]),
            *front,
            layers.Dense(32, activation="relu"),
            layers.Dense(units, activation=activation),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), loss)
    return model


def houses(folder: Path) -> None:
    """The tutorial's first model and its table."""
    area = np.array([50, 65, 80, 90, 100, 120, 140, 160, 180, 200, 220, 250] * 4, np.float32)
    price = 1500 * area + 20000 + np.random.default_rng(0).normal(0, 5000, len(area)).astype(np.float32)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.Adam(50.0), loss="mse")
    model.fit(area[:, np.newaxis], price, epochs=300, verbose=0)
    model.save(folder / "house_price_model.h5")
    with (folder / "houses.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["area", "price"])
        writer.writerows(zip(area.tolist(), price.tolist(), strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
