"""Train the demo's two models on scikit-learn's handwritten digits: real scans, shipped in its wheel.

    python -m demo.train --out-data digits.npz --out-v1 v1.keras --out-v2 v2.keras

v1 is what a team has in its first week: few samples, few epochs. v2 goes on from v1 with all of the
training data. Neither sees the test split.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wire.adapters.files import write_atomic

Array = npt.NDArray[Any]

_SUMMARY: Final = "Train the demo's two models on scikit-learn's handwritten digits."
_SEED: Final = 7
_TEST_SHARE: Final = 0.3
_EARLY_SAMPLES: Final = 320
_EARLY_EPOCHS: Final = 8
_FULL_EPOCHS: Final = 24
_BATCH: Final = 32


@dataclass(frozen=True)
class Digits:
    """Images float32 [n, 8, 8, 1] in 0..1, with the digit that each shows."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def load_digits() -> Digits:
    """Return the 1,797 scans, split by a fixed seed with equal shares of each digit."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, digits = load(return_X_y=True)
    x = (images.reshape(-1, 8, 8, 1) / 16.0).astype(np.float32)
    y = digits.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=_TEST_SHARE, stratify=y, random_state=_SEED
    )
    return Digits(x_train, y_train, x_test, y_test)


def npz_bytes(digits: Digits) -> bytes:
    """Return the data set as an npz file, with the labels of the ten outputs."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        x_train=digits.x_train,
        y_train=digits.y_train,
        x_test=digits.x_test,
        y_test=digits.y_test,
        labels=np.array([str(n) for n in range(10)]),
    )
    return file.getvalue()


def make_model() -> Any:
    """Return a small CNN, of the kind that a Raspberry Pi runs in microseconds."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(64, activation="relu", name="dense"),
            layers.Dropout(0.3, name="dropout"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )


def train(digits: Digits, out_v1: Path, out_v2: Path) -> None:
    """Train v1 and v2 and save them; a line of progress every few epochs."""
    import keras

    keras.utils.set_random_seed(_SEED)
    model = make_model()
    early = slice(0, _EARLY_SAMPLES)
    _fit(model, "v1", digits.x_train[early], digits.y_train[early], epochs=_EARLY_EPOCHS, rate=1e-3)
    _save(model, "v1", digits, out_v1)
    _fit(model, "v2", digits.x_train, digits.y_train, epochs=_FULL_EPOCHS, rate=2e-3)
    _save(model, "v2", digits, out_v2)


def _fit(model: Any, name: str, x: Array, y: Array, *, epochs: int, rate: float) -> None:
    import keras

    every = max(1, epochs // 4)

    def tell(epoch: int, logs: dict[str, float]) -> None:
        if (epoch + 1) % every == 0:
            print(
                f"{name} epoch {epoch + 1:2d}/{epochs}: loss {logs['loss']:.3f}, "
                f"training accuracy {logs['accuracy']:.1%}",
                flush=True,
            )

    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        x,
        y,
        batch_size=_BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=tell)],
    )


def _save(model: Any, name: str, digits: Digits, path: Path) -> None:
    right = np.argmax(model.predict(digits.x_test, verbose=0), -1) == digits.y_test
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file)
        write_atomic(path, file.read_bytes())
    print(f"{name}: {right.mean():.1%} of {len(right)} unseen test images right -> {path}", flush=True)


def main(arguments: list[str]) -> int:
    """Train both; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=_SUMMARY)
    parser.add_argument("--out-data", type=Path, required=True, metavar="NPZ")
    parser.add_argument("--out-v1", type=Path, required=True, metavar="KERAS")
    parser.add_argument("--out-v2", type=Path, required=True, metavar="KERAS")
    parsed = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums differ from run to run, and it says so
    digits = load_digits()
    write_atomic(parsed.out_data, npz_bytes(digits))
    print(f"digits: {len(digits.x_train)} to train, {len(digits.x_test)} to test -> {parsed.out_data}")
    train(digits, parsed.out_v1, parsed.out_v2)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
