"""Real Keras models, fine-tuned in the real child and quantized by the real quantizer."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from converter.adapters import interpreter, quantizer
from converter.adapters.finetune import Tuning, finetune, finetune_many
from converter.adapters.finetune_child import Batches, check_pace
from converter.adapters.flatbuffer import read_graphs
from converter.compression import Compression
from converter.dataset import Samples
from tests.support.trainable import Array, Trainable, trainable
from wire.errors import DataError, ModelError

_NAMES = ("aware", "prune80+4bit", "prune50+cluster8")


def _tuning(model: Trainable, epochs: int = 1) -> Tuning:
    return Tuning(model.file, (), "classes", epochs=epochs)


@pytest.fixture(scope="module")
def kinds() -> Trainable:
    return trainable()["kinds"]


@pytest.fixture(scope="module")
def told() -> list[float]:
    return []


@pytest.fixture(scope="module")
def series(kinds: Trainable, told: list[float]) -> dict[str, bytes]:
    levels = [Compression.parse(name) for name in _NAMES]
    before = hashlib.sha256(kinds.file.read_bytes()).digest()
    made = dict(
        zip(
            _NAMES,
            finetune_many(_tuning(kinds, 4), levels, kinds.train, kinds.inputs, told.append),
            strict=True,
        )
    )
    assert hashlib.sha256(kinds.file.read_bytes()).digest() == before
    return {name: tflite for name, tflite in made.items() if isinstance(tflite, bytes)}


@pytest.fixture(scope="module")
def quantized(kinds: Trainable, series: dict[str, bytes]) -> dict[str, bytes]:
    made = {}
    for name, tflite in series.items():
        ranges = quantizer.calibrate(tflite, [rows[:50] for rows in kinds.train.inputs]).ranges
        (found,) = quantizer.quantize(tflite, [quantizer.Job("int8")], ranges)
        assert found.tflite is not None
        made[name] = found.tflite
    return made


def _codes(tflite: bytes, layer: str) -> Array:
    """Return the int8 weights of a layer, [channels, others]."""
    found = [t for t in read_graphs(tflite)[0].tensors if layer in t.name and t.constant and t.dtype == "int8"]
    (values,) = (tensor.values for tensor in found)
    assert values is not None
    return values.reshape(len(values), -1)


@pytest.mark.parametrize("layer", ["transposed", "separable_conv2d"])
@pytest.mark.parametrize(("name", "most"), [("prune80+4bit", 15), ("prune50+cluster8", 9)])
def test_int8_weights_take_a_few_values_in_each_channel(
    quantized: dict[str, bytes], layer: str, name: str, most: int
) -> None:
    codes = _codes(quantized[name], f"{layer}" if layer == "transposed" else "separable/separable_conv2d")
    assert max(len(np.unique(channel)) for channel in codes) <= most
