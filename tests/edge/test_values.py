"""Models of values: what is counted of their answers, and of their errors where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.adapters.tflite import make_loader
from edge.backend import Array, Tensor
from edge.recorder import Recorder
from edge.results import ResultQueue, Sample
from edge.scoring import scoring_for
from edge.serving import HowToServe, Serving
from edge.values import ValueCounts, moments, values_for
from tests.support.examples import MANIFEST
from tests.support.tiny_bundle import write_tiny_bundle
from wire.bundle import pack, unpack
from wire.counters import MAX_VALUES, Moments, ValueCounters
from wire.manifest import Manifest

VALUES = replace(MANIFEST, task="values", labels=0)


def output(width: int, *, scale: float = 0.0) -> tuple[Tensor, ...]:
    dtype = np.dtype(np.int8 if scale else np.float32)
    return (Tensor(0, "y", dtype, (1, width), scale=scale, zero_point=0),)


def counted(outputs: tuple[Tensor, ...], *rows: list[float], manifest: Manifest = VALUES) -> Recorder:
    """Return what an agent counts of a model that answers these."""
    recorder = Recorder(("site=lab",))
    meter = recorder.meter("heat/1")
    meter.count_answers(scoring_for(outputs, manifest), values_for(outputs, manifest))
    for row in rows:
        meter.pending.append(1000)
        if meter.outputs is not None:
            meter.outputs.append(np.array([row], outputs[0].dtype))
    return recorder


def test_answers_are_counted_by_column_and_leave_with_a_report() -> None:
    recorder = counted(output(2), [1.0, -4.0], [3.0, 0.0])
    (counters,) = recorder.cut()
    assert counters.values == (
        ValueCounters(0, Moments(2, 4.0, 10.0, 1.0, 3.0)),
        ValueCounters(1, Moments(2, -4.0, 16.0, -4.0, 0.0)),
    )
    assert (counters.inferences, counters.labelled, counters.correct) == (2, 0, 0)
    assert recorder.cut() == ()


def test_codes_are_counted_as_what_they_mean() -> None:
    (counters,) = counted(output(1, scale=0.5), [10], [-4]).cut()
    assert counters.values == (ValueCounters(0, Moments(2, 3.0, 29.0, -2.0, 5.0)),)


def test_an_error_is_the_answer_less_the_truth() -> None:
    recorder = counted(output(1))
    for answer, truth in ((2.0, 5.0), (7.0, 6.0), (1.0, None)):
        recorder.meter("heat/1").judged(None, np.array([[answer]], np.float32), ("light=day",), truth)
    (counters,) = recorder.cut()
    assert counters.values == (ValueCounters(0, errors=Moments(2, -2.0, 10.0, -3.0, 1.0), off=4.0),)
    assert [(s.tag, s.inferences, s.labelled) for s in counters.slices] == [("light=day", 3, 0)]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e101])
def test_what_is_no_number_is_in_no_count(odd: float) -> None:
    assert moments(np.array([odd, 2.0])) == Moments(1, 2.0, 4.0, 2.0, 2.0)
    counts = ValueCounts()
    counts.judged(np.array([[odd]]), np.array([1.0]))
    counts.judged(np.array([[1.0]]), np.array([odd]))
    assert counts.take() == ()


def test_several_values_have_no_single_truth() -> None:
    counts = ValueCounts()
    counts.judged(np.zeros((1, 2)), np.array([1.0]))
    assert counts.take() == ()


@pytest.mark.parametrize(
    ("outputs", "manifest"), [(output(MAX_VALUES + 1), VALUES), (output(1), MANIFEST), (output(1), None)]
)
def test_other_answers_are_not_counted_as_values(
    outputs: tuple[Tensor, ...], manifest: Manifest | None
) -> None:
    assert values_for(outputs, manifest) is None


@pytest.mark.parametrize(
    "said",
    [(1, 0.0, 0.0, 2.0, 1.0), (1, 2e100, 0.0, 0.0, 0.0), (0, 0.0, 1.0, 0.0, 0.0), (1, 0.0, -1.0, 0.0, 0.0),
     (1, 0.0, np.nan, 0.0, 0.0), (1, 0.0, 0.0, -1e101, 0.0), (-1, 0.0, 0.0, 0.0, 0.0)],
)  # fmt: skip
def test_moments_that_no_numbers_have_are_refused(said: tuple[int, float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"no .*numbers have|a count"):
        Moments(*said)


def test_counts_of_many_answers_are_those_of_each() -> None:
    values: Array = np.random.default_rng(1).normal(20, 3, (500, 1))
    at_once, one_by_one = ValueCounts(), ValueCounts()
    at_once.answered(values)
    for row in values:
        one_by_one.answered(row.reshape(1, 1))
    (whole,), (summed,) = at_once.take(), one_by_one.take()
    assert whole.answers.count == summed.answers.count == 500
    assert whole.answers.total == pytest.approx(summed.answers.total)
    assert whole.answers.squares == pytest.approx(summed.answers.squares)
    assert (whole.answers.low, whole.answers.high) == (values.min(), values.max())


def serving_tiny(path: Path, manifest: dict[str, Any]) -> tuple[Serving, Recorder]:
    """Serve the tiny bundle, whose manifest says this instead."""
    bundle = unpack(write_tiny_bundle(path).read_bytes())
    path.write_bytes(pack(replace(bundle, manifest=replace(bundle.manifest, **manifest))))
    recorder = Recorder()
    serving = Serving(HowToServe(make_loader()), recorder, ResultQueue(10))
    serving.prepare(path)
    serving.swap()
    return serving, recorder


ROW = np.array([0.0, 0.5, 1.0, 0.0], np.float32)


def test_a_truth_that_is_no_class_is_refused_where_the_model_answers_classes(tmp_path: Path) -> None:
    serving, _ = serving_tiny(tmp_path / "tiny.bundle", {})
    assert serving.answer(Sample("1", ROW, value=-3.5)) is None
    assert serving.answer(Sample("2", ROW, truth=2, value=2.0)) is not None
    assert serving.inputs_refused == 1


def test_what_serves_is_counted_as_values_where_its_bundle_says_so(tmp_path: Path) -> None:
    serving, recorder = serving_tiny(tmp_path / "tiny.bundle", {"task": "values"})
    assert serving.answer(Sample("1", ROW, value=-3.5)) is not None
    (counters,) = recorder.cut()
    assert [one.answers.count for one in counters.values] == [1] * 4
    assert (counters.labelled, counters.predicted.counts) == (0, ())
