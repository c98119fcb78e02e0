"""The reference that a conversion writes: what the data was like, in bins that say equally much."""

from __future__ import annotations

import numpy as np
import pytest

from converter.reference import count_answers, make_reference
from wire.codec import decode, encode
from wire.counters import Classes
from wire.manifest import Postprocessing, Preprocessing, TensorSpec
from wire.reference import MAX_FEATURES, Feature, Reference

NOTHING = (Classes(), ())
RANDOM = np.random.default_rng(3)
OUTPUT = TensorSpec("y", "float32", (1, 3))


def made(*rows: np.ndarray, how: Preprocessing | None = None) -> tuple[Feature, ...]:  # type: ignore[type-arg]
    specs = tuple(TensorSpec(f"in{n}", "float32", (1, *array.shape[1:])) for n, array in enumerate(rows))
    return make_reference(rows, specs, how or Preprocessing(), NOTHING).features


def test_a_column_has_deciles() -> None:
    (feature,) = made(RANDOM.normal(size=(1000, 1)).astype(np.float32))
    assert (feature.name, feature.measure, len(feature.edges)) == ("in0[0]", "column", 9)
    assert set(feature.counts) <= set(range(98, 103))


def test_a_column_of_few_values_has_a_bin_for_each() -> None:
    (feature,) = made(np.array([[0], [0], [1], [7]], np.float32))
    assert (feature.edges, feature.counts) == ((0.5, 4.0), (2, 1, 1))


def test_a_column_that_is_constant_or_not_finite_has_one_bin_or_none() -> None:
    first, *rest = made(np.array([[5, np.nan], [5, np.inf]], np.float32))
    assert (first.edges, first.counts, rest) == ((), (2,), [])


def test_pictures_sounds_and_several_inputs_share_the_features() -> None:
    picture = RANDOM.uniform(size=(40, 8, 8, 3)).astype(np.float32)
    names = [f.name for f in made(picture, RANDOM.normal(size=(40, 1000)), RANDOM.normal(size=(40, 2)))]
    assert names == [
        *("in0 luminance", "in0 contrast", "in0 sharpness", "in0 saturated"),
        *("in1 mean", "in1 deviation", "in1 smallest", "in1 largest"),
        *("in2[0]", "in2[1]"),
    ]
    assert len(made(RANDOM.normal(size=(20, 60)), RANDOM.normal(size=(20, 60)))) == MAX_FEATURES


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (("age", "heat °C", "x\x1b[2J"), ("age", "heat °C", "x\\x1b[2J")),
        (("a" * 50, "b", "c"), ("a" * 40, "b", "c")),
        (("a" * 50, "a" * 41, "c"), ("x[0]", "x[1]", "x[2]")),
        (("age", ""), ("x[0]", "x[1]", "x[2]")),
        ((), ("x[0]", "x[1]", "x[2]")),
    ],
)
def test_columns_have_the_names_of_the_data_where_each_has_one(
    columns: tuple[str, ...], names: tuple[str, ...]
) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (50, 3)).astype(np.float32)
    spec = TensorSpec("x", "float32", (1, 3))
    found = make_reference((rows,), (spec,), Preprocessing(), NOTHING, columns).features
    assert tuple(feature.name for feature in found) == names


def test_the_same_data_makes_the_same_bytes_and_they_are_few() -> None:
    rows = RANDOM.normal(size=(500, 64)).astype(np.float32)
    reference = make_reference((rows,), (TensorSpec("x", "float32", (1, 64)),), Preprocessing(), NOTHING)
    again = make_reference((rows,), (TensorSpec("x", "float32", (1, 64)),), Preprocessing(), NOTHING)
    assert encode(reference) == encode(again)
    assert decode(Reference, encode(reference)) == reference
    assert len(encode(reference)) < 20_000


def test_answers_are_counted_by_class_and_by_confidence_where_it_is_one() -> None:
    shares = np.array([[0.93, 0.07, 0.0], [0.2, 0.0, 0.8], [1.0, 0.0, 0.0]], np.float32)
    classes, confidence = count_answers(shares, OUTPUT, "classes", Postprocessing())
    assert classes == Classes((0, 2), (2, 1))
    assert (confidence[16], confidence[18], confidence[19]) == (1, 1, 1)
    assert count_answers(shares * 9, OUTPUT, "classes", Postprocessing())[1] == ()  # logits
    assert count_answers(shares, OUTPUT, "values", Postprocessing()) == NOTHING
