"""What is decided about a source without its framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import forest
from converter.adapters import keras_source
from converter.forest import Tree
from converter.keras_config import own_objects
from converter.refusals import not_expressed, not_loaded
from converter.scaling import Step, affine, scaled, thresholds_before
from converter.signatures import Slot, choose_signature, fixed, settled
from converter.source import InputSpec
from wire.errors import DataError, ModelError

_NUMBERS = st.floats(-1e6, 1e6)
_FACTORS = st.floats(1e-3, 1e3)


@given(_NUMBERS, _FACTORS, _NUMBERS, _FACTORS, st.lists(st.floats(-1e3, 1e3, width=32)), st.booleans())
def test_a_moved_threshold_decides_alike_for_every_float32(
    threshold: float, factor: float, shift: float, divisor: float, numbers: list[float], in_float32: bool
) -> None:
    steps = [
        Step(kind, np.array([value]))  # type: ignore[arg-type]  # a table of literals
        for kind, value in (("subtract", shift), ("divide", divisor), ("multiply", factor), ("add", shift))
    ]
    column = np.zeros(1, np.int64)
    (moved,) = thresholds_before(steps, np.array([threshold]), column, in_float32=in_float32)
    beside = [np.nextafter(moved, np.float32(way)) for way in (-np.inf, np.inf)] if np.isfinite(moved) else []
    for number in np.array([*numbers, 0.0, *beside], np.float32):
        after = scaled(steps, np.array([number], np.float64), column)[0]
        after = np.float32(after) if in_float32 else after
        assert (number <= moved) == (after <= threshold)


def test_a_threshold_that_all_numbers_pass_or_none_stays_so() -> None:
    clip = [Step("clip", np.array([0.0, 1.0]))]
    moved = thresholds_before(clip, np.array([1.0, 0.5, -1.0]), np.zeros(3, np.int64), in_float32=True)
    assert moved.tolist() == [np.finfo(np.float32).max, 0.5, -np.inf]


@given(_NUMBERS, _FACTORS, _NUMBERS)
def test_chained_scalers_are_one_subtraction_and_one_multiplication(a: float, b: float, x: float) -> None:
    kinds = (("subtract", a), ("divide", b), ("multiply", 3.0), ("add", a))
    steps = [Step(kind, np.array([value])) for kind, value in kinds]  # type: ignore[arg-type]  # as above
    one = affine(steps, 1)
    wanted = scaled(steps, np.array([x]), np.zeros(1, np.int64))
    assert (x - one.offset) * one.factor == pytest.approx(wanted, rel=1e-6, abs=1e-3)


def test_trees_of_different_shape_share_their_tensors() -> None:
    leaf = Tree(*(np.array([n]) for n in (0, 0.0, -1, -1)), values=np.array([[5.0]]))
    nodes = (
        np.array(a) for a in ([1, 0, 0, 0, 0], [0.5, 2.0, 0, 0, 0], [1, 3, -1, -1, -1], [2, 4, -1, -1, -1])
    )
    deeper = Tree(*nodes, values=np.array([[0.0], [0.0], [100.0], [10.0], [20.0]]))
    planted = forest.plant([leaf, deeper])
    rows = np.array([[2.0, 0.5], [2.1, 0.5], [0.0, 0.6]], np.float32)
    assert forest.answers(planted, rows).ravel().tolist() == [15.0, 25.0, 105.0]


def test_an_open_size_is_the_datas() -> None:
    slots = [Slot("a", (None, 3), "float64"), Slot("b", (4,), "int64"), Slot("c", None)]
    rows = {"a": np.ones((2, 5, 3)), "1": np.ones((2, 4)), "c": np.ones((2, 7), np.int64)}
    specs = fixed(slots, rows)
    assert specs == (
        InputSpec("a", "float32", (5, 3)),
        InputSpec("b", "int64", (4,)),
        InputSpec("c", "int32", (7,)),
    )
    assert settled(slots, specs)[1] == "c: any shape is fixed at [7], the size of the data's rows"


@pytest.mark.parametrize(
    ("slot", "rows", "kind", "line"),
    [
        (Slot("input", (None, 3)), None, ModelError, r"its input leaves sizes open, \[\?, 3\]"),
        (Slot("t", (1,), "string"), None, ModelError, "its input t takes text"),
        (Slot("s", (None, 3)), np.ones((2, 4, 5, 3)), DataError, r"a row is \[4, 5, 3\], .* takes \[\?, 3\]"),
    ],
)
def test_what_cannot_be_fixed_is_said(slot: Slot, rows: Any, kind: type[Exception], line: str) -> None:
    with pytest.raises(kind, match=line):
        fixed([slot], None if rows is None else {"": rows})


def test_the_signature_is_the_one_named_or_the_default_or_the_only_one() -> None:
    assert choose_signature(["a", "serving_default"], None) == "serving_default"
    assert choose_signature(["a", "serving_default"], "a") == "a"
    assert choose_signature(["a"], None) == "a"


@pytest.mark.parametrize(
    ("text", "saved_by", "line"),
    [
        ("Unknown layer: 'Mine'. Please", "", "it needs Mine, which"),
        (
            "Unknown layer: 'TFOpLambda'.",
            "2.15.0",
            "it calls TensorFlow between its layers, which only Keras 2",
        ),
        (
            "bad\nException encountered: no 'x'",
            "2.15.0",
            r"Keras 3.1 cannot load what Keras 2.15.0 saved \(no 'x'\)",
        ),
        ("Unrecognized keyword", "3.9", r"Keras cannot load it \(saved by Keras 3.9, read by 3.1\): first"),
        ("unable to open (truncated file: eof)", "", "it is cut off"),
    ],
)
def test_why_keras_does_not_load_a_file_is_one_line(text: str, saved_by: str, line: str) -> None:
    said = not_loaded(text, "first", saved_by, "3.1")
    assert said.startswith(line.replace("\\", ""))
    assert "\n" not in said


def test_an_operator_is_named_with_its_innermost_layer() -> None:
    place = 'loc(fused["Svd:", "model_1/outer_1/odd_2/Svd@__inference"])'
    text = f"{place}: 'tf.Svd' op is neither a custom op\nCustom ops: Svd"
    assert "no operator for tf.Svd (layer odd)" in not_expressed(text, {"outer", "odd"}, "")
    assert not_expressed("nothing known", (), "first") == "plain TFLite cannot express it: first"


def test_own_code_is_found_in_a_configuration() -> None:
    def layer(name: str, module: str | None, registered: str | None, **config: Any) -> dict[str, Any]:
        return {"class_name": name, "module": module, "registered_name": registered, "config": config}

    function = {
        "class_name": "function",
        "module": "builtins",
        "config": "swish2",
        "registered_name": "function",
    }
    inside = [
        layer("Dense", "keras.layers", None, activation=function),
        layer("Mine", "my_layers", "Custom>Mine"),
        layer("Lambda", "keras.layers", None),
    ]
    whole = layer("Sequential", "keras", None, layers=inside) | {"compile_config": {"loss": inside}}
    assert own_objects(whole) == {"swish2", "Custom>Mine", "a lambda"}
    assert own_objects(layer("Dense", "keras.layers", None)) == set()


def test_a_keras_model_that_cannot_be_saved_in_either_form_says_why_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unsaved:
        name = "digits"

        def save(self, path: Path) -> None:
            path.write_bytes(b"half a fi")
            raise OSError("no space left on device")

        def export(self, *_: object, **__: object) -> None:
            raise ValueError("the model was never called")

    monkeypatch.setattr(keras_source, "_one_row", lambda _: None)
    with pytest.raises(ModelError, match=r"digits cannot .* never called \(nor as \.keras: no space left"):
        keras_source.save_keras(Unsaved(), tmp_path)
    assert not list(tmp_path.iterdir())
