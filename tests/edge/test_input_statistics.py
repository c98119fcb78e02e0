"""Features of inputs on the device: in the bins of the bundle's reference, as the converter counts them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from edge import open_bundle
from edge.backend import Tensor
from edge.input_statistics import InputStatistics, Measured
from edge.recorder import Recorder
from edge.results import Result, Sample
from edge.scored import Scored
from tests.support.fakes import prediction
from tests.support.training import Bundles, Trained
from wire.bundle import unpack
from wire.manifest import Preprocessing
from wire.reference import COLUMN, Feature, Reference

X = Tensor(0, "x", np.dtype(np.int8), (1, 2), 0.5, 0)
Z = Tensor(1, "z", np.dtype(np.float32), (1, 1))
REFERENCE = Reference(
    9,
    (
        Feature("x[0]", COLUMN, (1.0,), (4, 5)),
        Feature("x[1]", COLUMN, (1.0,), (4, 5), 0, 1),
        Feature("z[0]", COLUMN, (1.0,), (4, 5), 1, 0),
    ),
)


def counted(
    inputs: list[object], *, rate: float = 1.0, tensors: tuple[Tensor, ...] = (X, Z)
) -> dict[str, tuple[int, ...]]:
    recorder = Recorder()
    measured = Measured(REFERENCE, tensors, Preprocessing())
    statistics = InputStatistics(recorder, lambda release: measured, rate, random.Random(1).random)
    for start in range(0, len(inputs), 16):
        part = inputs[start : start + 16]
        statistics.offer([Scored(Result(Sample("", each), prediction("m/1"), 0.0), 1, 0.9) for each in part])
    return {feature.name: feature.counts for cut in recorder.cut() for feature in cut.features}


def test_inputs_are_counted_in_the_bins_of_the_reference_however_they_are_given() -> None:
    by_name = {"x": np.array([[0.0, 3.0]], np.float32), "z": np.array([2.0])}
    codes = [np.array([0, 6], np.int8), [2.0]]
    assert counted([by_name, codes]) == {"x[0]": (2, 0), "x[1]": (0, 2), "z[0]": (0, 2)}


@pytest.mark.parametrize("given", [None, [], {"y": 1}, [[1.0], [2.0]], "text", [object(), object()], {}])
def test_an_input_that_does_not_fit_the_model_any_more_is_passed_over(given: object) -> None:
    assert counted([given, {"x": [0.0, 0.0], "z": [0.0]}])["x[0]"] == (1, 0)


def test_a_share_of_the_inputs_is_taken() -> None:
    taken = counted([np.array([0.0, 0.0], np.float32)] * 1000, rate=0.25, tensors=(X,))
    assert 200 < sum(taken["x[0]"]) < 300


def test_a_device_counts_the_converters_own_data_as_the_converter_did(
    bundles: Bundles, trained: Trained
) -> None:
    bundle = unpack(Path(bundles.two).read_bytes())
    reference = bundle.reference
    assert reference
    assert [f.measure for f in reference.features] == ["luminance", "contrast", "sharpness", "saturated"]
    with np.load(trained.data) as data:
        rows = data["x_test"]
    assert reference.rows == len(rows)
    recorder = Recorder()
    with open_bundle(bundles.two) as runtime:
        model = runtime.model
        assert model
        measured = Measured(reference, model.inputs, bundle.manifest.preprocessing)
        statistics = InputStatistics(recorder, lambda release: measured, 1.0, lambda: 0.0)
        for row in rows:
            statistics.offer([Scored(Result(Sample("", row), prediction("m/1"), 0.0), 1, 0.9)])
        predicted = [runtime.predict(row).best for row in rows]
    (cut,) = recorder.cut()
    assert {f.name: f.counts for f in cut.features} == {f.name: f.counts for f in reference.features}
    found = dict(zip(reference.predicted.classes, reference.predicted.counts, strict=True))
    assert found == {c: predicted.count(c) for c in set(predicted)}
    assert sum(reference.confidence) == len(rows)
