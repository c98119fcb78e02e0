"""SavedModel folders and TFLite files: one signature of them, with a batch of 1, as floats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from converter.adapters.tflite_file import operator_names
from tests.support.source_attempts import Attempt, Outcome, models, outcomes
from wire.errors import DataError, EdgeflockError, ModelError

_ROWS = {"": np.random.default_rng(5).random((5, 9, 4))}
_ATTEMPTS = {
    name: replace(attempt, child="saved_model_child")
    for name, attempt in {
        "several": Attempt("several"),
        "two signatures, one named": Attempt("scale", signature="often"),
        "two signatures": Attempt("scale"),
        "another signature": Attempt("scale", signature="never"),
        "no signature": Attempt("unsigned"),
        "recurrent": Attempt("recurrent"),
        "private": Attempt("private/model"),
        "other rows": Attempt("scale", signature="once", rows=_ROWS),
    }.items()
} | {
    name: replace(attempt, child="tflite_child")
    for name, attempt in {
        "float": Attempt("float.tflite"),
        "zipped": Attempt("zipped.tflite"),
        "open": Attempt("open.tflite", rows=_ROWS),
        "open without rows": Attempt("open.tflite"),
        "once": Attempt("scales.tflite", signature="once"),
        "often": Attempt("scales.tflite", signature="often"),
        "once or often": Attempt("scales.tflite"),
        "int8": Attempt("int8.tflite"),
        "flex": Attempt("flex.tflite"),
        "cut": Attempt("cut.tflite"),
    }.items()
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    return outcomes(models(tmp_path_factory.getbasetemp()), _ATTEMPTS)


def test_a_saved_model_answers_by_the_names_of_its_signature(found: Mapping[str, Outcome]) -> None:
    made = found["several"].made
    assert [(spec.name, spec.dtype) for spec in made.inputs] == [("features", "float32"), ("words", "int32")]
    assert made.outputs == ("output_0", "output_1")
    assert [array.shape for array in made.answers] == [(64, 3), (64, 2)]
    assert max(found["several"].differences) < 1e-6
    assert set(made.versions) == {"tensorflow"}


def test_the_signature_that_is_named_is_converted(found: Mapping[str, Outcome]) -> None:
    outcome = found["two signatures, one named"]
    assert outcome.made.outputs == ("z",)
    assert "recurrent" in outcome.made.traits  # it loops
    assert max(outcome.differences) < 1e-5


def test_an_object_with_code_of_its_own_is_saved_as_what_it_computes(
    found: Mapping[str, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = models(tmp_path_factory.getbasetemp())
    assert [path.name for path in (folder / "plain").iterdir()] == ["model.keras"]
    assert [path.name for path in (folder / "private").iterdir()] == ["model"]
    assert found["private"].made.inputs[0].name == "input"
    assert max(found["private"].differences) < 1e-6


def test_a_float_file_of_fixed_size_keeps_its_model(
    found: Mapping[str, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = (models(tmp_path_factory.getbasetemp()) / "float.tflite").read_bytes()
    bare, zipped = found["float"].made, found["zipped"].made
    assert bare.inputs[0].name == "image"
    assert operator_names(bare.tflite) == operator_names(whole)
    assert zipped.tflite == bare.tflite
    assert bare.traits == frozenset()


def test_an_open_size_is_fixed_in_the_file(found: Mapping[str, Outcome]) -> None:
    made = found["open"].made
    assert made.inputs[0].shape == (9, 4)
    assert made.notes == ("series: [?, 4] is fixed at [9, 4], the size of the data's rows",)
    assert found["open"].differences == (0.0,)


def test_one_signature_of_several_is_left_with_what_it_runs(found: Mapping[str, Outcome]) -> None:
    once, often = found["once"].made, found["often"].made
    assert "WHILE" in operator_names(often.tflite)
    assert "WHILE" not in operator_names(once.tflite)
    rows = np.abs(often.answers[0]).max(), np.abs(once.answers[0]).max()
    assert rows[0] == pytest.approx(8 * rows[1])
    assert max(found["once"].differences + found["often"].differences) < 1e-6


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("two signatures", ModelError, "name one of its signatures with --signature: often, once"),
        ("another signature", ModelError, "it has no signature never, only often, once"),
        ("no signature", ModelError, "it has no signature: save it with"),
        ("recurrent", ModelError, r"a batch that is left open \(tf.TensorListReserve\): give the .keras"),
        ("other rows", DataError, r"a row is \[9, 4\], the model takes \[4\]"),
        ("open without rows", ModelError, r"its input series leaves sizes open, \[\?, 4\]"),
        ("once or often", ModelError, "name one of its signatures"),
        ("int8", ModelError, r"quantized already \(\d+ of \d+ tensors are int8\)"),
        ("flex", ModelError, "it needs FlexMatrixDeterminant, which plain TFLite lacks"),
        ("cut", ModelError, "no whole TFLite model"),
    ],
)
def test_a_refusal_is_one_line(
    found: Mapping[str, Outcome], name: str, kind: type[EdgeflockError], line: str
) -> None:
    with pytest.raises(kind, match=line) as caught:
        _ = found[name].made
    assert "\n" not in str(caught.value)
