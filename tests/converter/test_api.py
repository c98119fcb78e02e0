"""Converting from Python, in a process of its own as users have it: objects in, a bundle out."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from converter import convert_model
from tests.support.local_fleet import ROOT
from wire.bundle import unpack
from wire.errors import SettingsError

SCRIPT = """
import sys
import numpy as np
import keras
from sklearn.linear_model import LogisticRegression
from converter import convert_model

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).random((200, 6)).astype("float32")
y = (x[:, 0] > x[:, 1]).astype("int64")
layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(2, "softmax")]
model = keras.Sequential([keras.Input((6,)), *layers])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, y, epochs=5, verbose=0)
for number in (1, 2):
    convert_model(model, (x, y), name="keras", out=f"{sys.argv[1]}/keras-{number}.bundle")
batches = (x[i : i + 50] for i in range(0, 200, 50))
convert_model(model, batches, name="stream", recipe="int8", out=f"{sys.argv[1]}/stream.bundle")
linear = LogisticRegression().fit(x, y)
convert_model(linear, {"x": x, "y": y}, name="linear", out=f"{sys.argv[1]}/linear.bundle")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_equal_models_make_equal_bundles(made: Path) -> None:
    one, two = (hashlib.sha256((made / f"keras-{n}.bundle").read_bytes()).hexdigest() for n in (1, 2))
    assert one == two


def test_a_stream_of_batches_calibrates(made: Path) -> None:
    manifest = unpack((made / "stream.bundle").read_bytes()).manifest
    assert manifest.recipe == "int8"
    assert manifest.task == "unlabelled"


def test_an_estimator_is_converted_as_it_is(made: Path) -> None:
    metrics = unpack((made / "linear.bundle").read_bytes()).manifest.metrics
    assert metrics["accuracy"] == metrics["float_accuracy"]


@pytest.mark.parametrize(
    ("model", "more", "line"),
    [
        (object(), {}, "object is no model that is known"),
        (dict, {}, "type is no model that is known"),
        ("m.keras", {"allow_miss": True}, "are about a budget"),
        ("m.keras", {"board": "8"}, "are about a budget"),
    ],
)
def test_what_cannot_be_done_is_one_line(model: object, more: dict[str, object], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        convert_model(model, name="x", **more)  # type: ignore[arg-type]  # wrong on purpose
