"""Real Keras models, fine-tuned in the real child and quantized by the real quantizer."""

from __future__ import annotations

import hashlib
import lzma
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
from wire.errors import ModelError

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
    found = [
        t
        for t in read_graphs(tflite)[0].tensors
        if t.name.endswith(layer) and t.constant and t.dtype == "int8"
    ]
    (values,) = (tensor.values for tensor in found)
    assert values is not None
    return values.reshape(len(values), -1)


@pytest.mark.parametrize("layer", ["transposed_1/conv_transpose", "separable_1/separable_conv2d"])
@pytest.mark.parametrize(("name", "most"), [("prune80+4bit", 15), ("prune50+cluster8", 9)])
def test_int8_weights_take_a_few_values_in_each_channel(
    quantized: dict[str, bytes], layer: str, name: str, most: int
) -> None:
    codes = _codes(quantized[name], layer)
    assert max(len(np.unique(channel)) for channel in codes) <= most


def test_what_was_zero_stays_zero_behind_a_scaling_that_is_folded_in(quantized: dict[str, bytes]) -> None:
    assert (_codes(quantized["prune80+4bit"], "dense_1/BiasAdd") == 0).mean() > 0.75


def test_depthwise_and_small_kernels_keep_what_they_have(quantized: dict[str, bytes]) -> None:
    assert (_codes(quantized["prune80+4bit"], "by_channel_1/depthwise") == 0).mean() < 0.1
    assert (_codes(quantized["prune80+4bit"], "digit_1/MatMul") == 0).mean() < 0.1


def test_fewer_values_make_less_to_send(quantized: dict[str, bytes]) -> None:
    sizes = {name: len(lzma.compress(tflite)) for name, tflite in quantized.items()}
    assert sizes["prune80+4bit"] < sizes["prune50+cluster8"] < 0.7 * sizes["aware"]
    assert len({len(tflite) for tflite in quantized.values()}) == 1


def test_it_still_tells_digits_apart(kinds: Trainable, quantized: dict[str, bytes]) -> None:
    for name, least in (("aware", 0.9), ("prune50+cluster8", 0.85)):
        answers = interpreter.run(quantized[name], kinds.test.inputs, timed_calls=0).answers[0]
        assert np.mean(np.argmax(answers, 1) == kinds.test.truth) >= least, name


def test_a_level_is_the_same_alone_and_in_any_series(kinds: Trainable, series: dict[str, bytes]) -> None:
    level = Compression.parse(_NAMES[1])
    assert finetune(_tuning(kinds, 4), level, kinds.train, kinds.inputs) == series[_NAMES[1]]


@pytest.mark.usefixtures("series")
def test_progress_rises_to_the_end(told: list[float]) -> None:
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(set(told)) > 3


def test_several_inputs_and_outputs_and_frozen_layers_are_trained_without_truth() -> None:
    model = trainable()["two"]
    rows = Samples(model.train.inputs, None)
    tflite = finetune(_tuning(model), Compression.parse("prune50+4bit"), rows, model.inputs)
    weights = {tensor.name: tensor.values for tensor in read_graphs(tflite)[0].tensors if tensor.constant}
    (embedding,) = (values for name, values in weights.items() if "embedding" in name and "Gather" in name)
    assert embedding is not None
    assert len(np.unique(embedding)) <= 15


def test_a_training_that_diverges_is_one_line_for_its_level() -> None:
    model = trainable()["two"]
    words, numbers = model.train.inputs
    wild = Samples((words, np.full_like(numbers, np.nan)), None)
    made = list(finetune_many(_tuning(model), [Compression(bits=4)] * 2, wild, model.inputs))
    assert [str(line).split(" after")[0] for line in made] == ["4bit: the training diverged"] * 2


def test_what_the_child_cannot_do_is_said_for_every_level_that_is_left(kinds: Trainable) -> None:
    hasty = replace(_tuning(kinds), time_limit_s=0.1)
    made = list(finetune_many(hasty, [Compression(bits=4)] * 2, kinds.train, kinds.inputs))
    assert made == ["fine-tuning: not done after 0 s, stopped"] * 2
    with pytest.raises(ModelError, match=r"kinds\.keras: fine-tuning: not done after 0 s"):
        finetune(hasty, Compression(bits=4), kinds.train, kinds.inputs)


def test_a_pace_that_will_not_do_is_refused_early() -> None:
    check_pace("4bit", 1000, 0.05, 60.0)
    with pytest.raises(
        ModelError, match=r"4bit would take 33 minutes \(1000 steps\), the limit is 30: give fewer"
    ):
        check_pace("4bit", 1000, 2.0, 1800.0)


@pytest.mark.parametrize(
    ("rows", "epochs", "steps"), [(100, None, 600), (3500, None, 1650), (10**6, None, 2500), (100, 3, 6)]
)
def test_steps_are_enough_for_few_rows_and_bearable_for_many(
    rows: int, epochs: int | None, steps: int
) -> None:
    assert Batches(rows, 64, epochs, 0).steps == steps


def test_every_row_is_seen_once_before_any_is_seen_again() -> None:
    batches = list(Batches(rows=100, size=8, epochs=4, seed=0))
    assert {len(batch) for batch in batches} == {8}
    assert sorted(np.concatenate(batches)[:100]) == list(range(100))
    assert list(np.concatenate(batches)) == list(np.concatenate(list(Batches(100, 8, 4, 0))))
