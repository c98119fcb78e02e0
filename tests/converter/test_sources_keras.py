"""Keras files of every make: converted, or refused in one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.support.source_attempts import Attempt, Outcome, models, outcomes
from wire.errors import DataError, EdgeflockError, ModelError

_HOUSES = {"": np.array([[0.5], [1.0], [2.0]])}
_SERIES = {"": np.random.default_rng(3).random((5, 9, 4))}
_WORDS, _FEATURES = np.arange(30).reshape(5, 6) % 10, np.random.default_rng(4).random((5, 4))
_ATTEMPTS = {
    "own without code": Attempt("own.keras"),  # first: what own.py registers stays known
    "house": Attempt("house_price_model.h5", rows=_HOUSES),
    "lstm": Attempt("lstm.keras", rows=_SERIES),
    "lstm of no size": Attempt("lstm.keras"),
    "gru": Attempt("gru.h5"),
    "bidirectional": Attempt("bidirectional.keras"),
    "stateful": Attempt("stateful.keras"),
    "words": Attempt("words.keras"),
    "half words": Attempt("words.keras", rows={"": np.full((5, 6), 0.5)}),
    "bytes": Attempt("bytes.keras"),
    "half": Attempt("half.keras"),
    "attention": Attempt("attention.keras"),
    "normalized": Attempt("normalized.keras"),
    "wide": Attempt("normalized.keras", rows={"": np.ones((5, 2, 2))}),
    "several": Attempt("several.keras", rows={"features": _FEATURES, "words": _WORDS}),
    "several by position": Attempt("several.keras", rows={"0": _WORDS, "1": _FEATURES}),
    "several of one": Attempt("several.keras", rows={"words": _WORDS}),
    "own": Attempt("own.keras", code="own.py"),
    "own with broken code": Attempt("own.keras", code="broken.py"),
    "own with no code there": Attempt("own.keras", code="none.py"),
    "pair": Attempt("pair.keras", code="own.py"),
    "svd": Attempt("svd.keras", code="own.py"),
    "nan": Attempt("nan.keras"),
    "lambda": Attempt("lambda.keras"),
    "text": Attempt("text.keras"),
    "weights": Attempt("only.weights.h5"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    return outcomes(models(tmp_path_factory.getbasetemp()), _ATTEMPTS)


@pytest.fixture
def same(found: Mapping[str, Outcome]) -> Callable[[str], Outcome]:
    """Assert that the file answers as Keras does, on each output, and return the outcome."""

    def check(name: str) -> Outcome:
        assert found[name].made.answers
        assert max(found[name].differences) < 1e-5
        return found[name]

    return check


def test_a_first_model_without_an_input_layer_converts(same) -> None:  # type: ignore[no-untyped-def]
    made = same("house").made
    assert [(spec.name, spec.dtype, spec.shape) for spec in made.inputs] == [("input", "float32", (1,))]
    assert made.answers[0].shape == (3, 1)
    assert made.traits == {"trainable"}
    assert set(made.versions) == {"tensorflow", "keras"}


@pytest.mark.parametrize("name", ["lstm", "gru", "bidirectional", "words", "stateful"])
def test_recurrent_layers_convert_for_one_row(same, name: str) -> None:  # type: ignore[no-untyped-def]
    assert same(name).made.traits == {"recurrent", "trainable"}


def test_what_an_embedding_reads_is_int32_whatever_keras_calls_it(same) -> None:  # type: ignore[no-untyped-def]
    made = same("words").made
    assert made.inputs[0].dtype == "int32"
    assert made.rows[0].max() == 19  # made up, within the embedding's rows
    assert "an embedding looks up whole numbers" in made.notes[0]


def test_a_state_is_forgotten_and_a_size_settled_with_a_note(same) -> None:  # type: ignore[no-untyped-def]
    assert same("stateful").made.notes == (
        "stateful=True is not kept (memory): on a device each row starts anew",
    )
    assert same("lstm").made.notes == ("input: [?, 4] is fixed at [9, 4], the size of the data's rows",)


def test_half_precision_becomes_float32(same) -> None:  # type: ignore[no-untyped-def]
    assert "half precision" in same("half").made.notes[0]


def test_integers_stay_and_outputs_may_have_any_rank(same) -> None:  # type: ignore[no-untyped-def]
    made = same("bytes").made
    assert made.inputs[0].dtype == "uint8"
    assert made.answers[0].shape == (64, 10, 10, 2)
    assert "normalizes" in made.traits


@pytest.mark.parametrize(("name", "trait"), [("attention", "attention"), ("normalized", "normalizes")])
def test_traits_are_told_by_the_layers(same, name: str, trait: str) -> None:  # type: ignore[no-untyped-def]
    assert same(name).made.traits == {trait, "trainable"}


@pytest.mark.parametrize("name", ["several", "several by position"])
def test_several_inputs_and_outputs_keep_the_models_order(same, name: str) -> None:  # type: ignore[no-untyped-def]
    made = same(name).made
    assert [(spec.name, spec.dtype) for spec in made.inputs] == [("words", "int32"), ("features", "float32")]
    assert made.outputs == ("kind", "amount")
    assert np.array_equal(made.rows[0], _WORDS)
    assert [array.shape for array in made.answers] == [(5, 3), (5, 2)]


def test_own_layers_and_models_convert_with_their_code(same) -> None:  # type: ignore[no-untyped-def]
    assert same("own").made.inputs[0].shape == (4,)
    pair = same("pair").made
    assert [spec.name for spec in pair.inputs] == ["left", "right"]
    assert [(name, a.shape) for name, a in zip(pair.outputs, pair.answers, strict=True)] == [
        ("a", (64, 2)),
        ("b", (64, 3)),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("lstm of no size", ModelError, r"its input leaves sizes open, \[\?, 4\]: give data"),
        ("own without code", ModelError, "it needs Twice, which Keras does not have: .*--code FILE.py"),
        ("own with broken code", ModelError, "broken.py fails: RuntimeError: no data$"),
        ("own with no code there", ModelError, "none.py is not there"),
        ("svd", ModelError, r"no operator for tf.Svd \(layer odd\)"),
        ("nan", ModelError, r"the weights of layer first \(kernel\) hold NaN or infinity"),
        ("lambda", ModelError, "it has a Lambda layer.* --code FILE.py"),
        ("text", ModelError, "takes text"),
        ("weights", ModelError, r"at most the weights of one: save the whole model with model.save\(\)"),
        ("wide", DataError, r"a row is \[2, 2\], the model takes \[4\]"),
        ("half words", DataError, "has fractions .*the model takes int32"),
        ("several of one", DataError, "features is not there"),
    ],
)
def test_a_refusal_is_one_line(found, name: str, kind: type[EdgeflockError], line: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=line) as caught:
        _ = found[name].made
    assert "\n" not in str(caught.value)
