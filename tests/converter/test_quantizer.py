"""Real models, calibrated and quantized by the real library in its child."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from converter.adapters import interpreter, quantizer
from converter.adapters.flatbuffer import activation_ranges, min_runtime, operators, read_graphs
from converter.adapters.quantizer import Job, Quantized, calibrate, layer_losses, quantize
from converter.calibration import Array, Calibration, kept, merged
from converter.recipes import RECIPES, parse_rule
from tests.support.quantizable import Quantizable, quantizable
from wire.errors import ModelError

old_runtime = pytest.mark.skipif("tflite-runtime" not in interpreter.installed(), reason="it is not here")


@pytest.fixture(scope="module")
def models() -> dict[str, Quantizable]:
    return quantizable()


@pytest.fixture(scope="module")
def calibrations(models: dict[str, Quantizable]) -> dict[str, Calibration]:
    return {name: calibrate(model.tflite, model.samples) for name, model in models.items()}


@pytest.fixture(scope="module")
def made(
    models: dict[str, Quantizable], calibrations: dict[str, Calibration]
) -> dict[str, dict[str, Quantized]]:
    """Return the digits by every recipe, the others by three."""
    recipes = dict.fromkeys(models, ("int8", "dynamic-int8", "weight-int8")) | {"digits": tuple(RECIPES)}
    found = {}
    for name, model in models.items():
        jobs = [Job(recipe) for recipe in recipes[name]]
        outcomes = quantize(model.tflite, jobs, calibrations[name].ranges)
        found[name] = dict(zip(recipes[name], outcomes, strict=True))
    return found


def _answers(tflite: bytes | None, rows: tuple[Array, ...], backend: str = interpreter.REFERENCE) -> Array:
    assert tflite is not None
    return interpreter.run(tflite, rows, backend, timed_calls=0).answers[0]


def _agreement(tflite: bytes | None, model: Quantizable, backend: str = interpreter.REFERENCE) -> float:
    other = _answers(model.tflite, model.rows)
    return float(np.mean(np.argmax(_answers(tflite, model.rows, backend), 1) == np.argmax(other, 1)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_answers_as_float_does(
    recipe: str, models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    model, one = models["digits"], made["digits"][recipe]
    assert one.error == ""
    assert _agreement(one.tflite, model) >= 0.97


@pytest.mark.parametrize(
    ("recipe", "share"),
    [("float16", 0.53), ("int8", 0.30), ("dynamic-int8", 0.29), ("int16", 0.31), ("weight-int4", 0.17)],
)
def test_recipes_make_models_small(
    recipe: str, share: float, models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    tflite = made["digits"][recipe].tflite
    assert tflite is not None
    assert len(tflite) < share * len(models["digits"].tflite)


@old_runtime
@pytest.mark.parametrize("recipe", ["float32", "float16", "int8", "int8-float-io", "weight-int8", "int16"])
def test_these_run_on_the_old_runtime_too(
    recipe: str, models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    one = made["digits"][recipe]
    assert one.tflite is not None
    assert _agreement(one.tflite, models["digits"], "tflite-runtime") >= 0.99
    assert tuple(int(part) for part in min_runtime(one.tflite).split(".")) <= (2, 14, 0)


@old_runtime
@pytest.mark.parametrize("recipe", ["dynamic-int8", "weight-int4", "weight-int4-block32"])
def test_these_the_old_runtime_refuses_instead_of_answering_wrongly(
    recipe: str, models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    with pytest.raises(ModelError):
        _answers(made["digits"][recipe].tflite, models["digits"].rows, "tflite-runtime")


@pytest.mark.parametrize(
    ("recipe", "types"),
    [
        ("int8", ["int8", "int8"]),
        ("int8-float-io", ["float32", "float32"]),
        ("int16", ["int16", "int16"]),
        ("weight-int8", ["float32", "float32"]),
    ],
)
def test_static_models_take_and_give_codes_unless_told_otherwise(
    recipe: str, types: list[str], made: dict[str, dict[str, Quantized]]
) -> None:
    assert _ends(made["digits"][recipe]) == types


def _ends(one: Quantized) -> list[str]:
    assert one.tflite is not None
    graph = read_graphs(one.tflite)[0]
    return [graph.tensors[place].dtype for place in (*graph.inputs, *graph.outputs)]


def test_a_normalization_layer_stays_float_and_keeps_the_accuracy(
    models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    wine, one = models["wine"], made["wine"]["int8"]
    assert _ends(one) == ["float32", "int8"]
    assert one.notes == ("the scaler in front (SUB, MUL) stays float32, and so does the input",)
    assert _agreement(one.tflite, wine) >= 0.98


def test_a_table_of_uneven_columns_without_a_scaler_is_warned_of(models: dict[str, Quantizable]) -> None:
    rows = np.repeat(models["matmul"].samples[0].reshape(30, -1)[:, :4], 2, axis=0) * np.float32(
        [900, 1, 1, 1]
    )
    uneven = calibrate(models["two"].tflite, (np.zeros((60, 6), np.int32), rows))
    assert "columns have fewer than 4 of 256 codes" in uneven.warnings[-1]


def test_integers_as_inputs_stay_integers(
    models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    assert _ends(made["two"]["int8"]) == ["int32", "int8", "int8"]
    assert _agreement(made["two"]["int8"].tflite, models["two"]) >= 0.9


def test_loops_are_calibrated_from_outside_and_keep_float_activations(
    models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    assert made["lstm"]["int8"].notes == ("loops compute in float32: their weights are int8",)
    for recipe in ("int8", "weight-int8", "dynamic-int8"):
        assert _agreement(made["lstm"][recipe].tflite, models["lstm"]) >= 0.9


@pytest.mark.parametrize("backend", interpreter.installed())
def test_constant_matrices_have_one_scale_which_every_runtime_knows(
    backend: str, models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    model, tflite = models["matmul"], made["matmul"]["int8"].tflite
    exact, answers = _answers(model.tflite, model.rows), _answers(tflite, model.rows, backend)
    assert np.abs(answers - exact).max() < 0.1 * np.abs(exact).max()


def test_the_same_input_gives_the_same_bytes(
    models: dict[str, Quantizable],
    calibrations: dict[str, Calibration],
    made: dict[str, dict[str, Quantized]],
) -> None:
    again = calibrate(models["digits"].tflite, models["digits"].samples)
    assert again == calibrations["digits"]
    jobs = [Job("int16"), Job("int8"), Job("weight-int4")]
    for job, one in zip(jobs, quantize(models["digits"].tflite, jobs, again.ranges), strict=True):
        assert one == made["digits"][job.recipe]


def test_ranges_hold_every_value_that_was_seen(
    models: dict[str, Quantizable], calibrations: dict[str, Calibration]
) -> None:
    model, ranges = models["digits"], calibrations["digits"].ranges
    graph = read_graphs(model.tflite)[0]
    outputs = _answers(model.tflite, model.samples)
    assert ranges[graph.tensors[graph.inputs[0]].name] == (0.0, 1.0)
    low, high = ranges[graph.tensors[graph.outputs[0]].name]
    assert (low, high) == pytest.approx((outputs.min(), outputs.max()), abs=1e-6)


def test_exceptions_change_single_operators(
    models: dict[str, Quantizable], calibrations: dict[str, Calibration]
) -> None:
    model, ranges = models["digits"], calibrations["digits"].ranges
    rules = [
        ("int8", "SOFTMAX=float32", ["int8", "float32"], ("SOFTMAX", 1)),
        ("int8", "conv1=float32", ["float32", "int8"], ("QUANTIZE", 1)),
        ("weight-int8", "CONV_2D=int8", ["float32", "float32"], ("CONV_2D", 3)),
        ("float32", "dense=weight-int8", ["float32", "float32"], ("DEQUANTIZE", 5)),
    ]
    jobs = [Job(recipe, (parse_rule(rule),)) for recipe, rule, _, _ in rules]
    for (_, _, ends, operator), one in zip(rules, quantize(model.tflite, jobs, ranges), strict=True):
        assert one.tflite is not None
        assert _ends(one) == ends
        assert operator in [(kind.name, kind.version) for kind in operators(one.tflite)]
        assert _agreement(one.tflite, model) >= 0.98


def test_a_job_that_fails_costs_only_itself(models: dict[str, Quantizable]) -> None:
    nowhere = (parse_rule("nowhere=float32"),)
    jobs = [Job("int8"), Job("weight-int4-block32"), Job("weight-int8", nowhere), Job("float16")]
    outcomes = quantize(models["lstm"].tflite, jobs, None)
    assert [one.tflite is None for one in outcomes] == [True, True, True, False]
    assert "needs calibration data" in outcomes[0].error
    assert "multiple of 32 inputs" in outcomes[1].error
    assert "matches nothing" in outcomes[2].error
    assert all("\n" not in one.error for one in outcomes)


_CRASHES = """
import os, signal, sys
from converter.adapters import quantizer_child
whole = quantizer_child.library_recipe
def library_recipe(graphs, job):
    if job["recipe"] in ("float16", "weight-int4"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return whole(graphs, job)
quantizer_child.library_recipe = library_recipe
sys.exit(quantizer_child.main(sys.argv[1:]))
"""


def test_a_job_that_ends_the_process_costs_only_itself(
    models: dict[str, Quantizable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing_child.py").write_text(_CRASHES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(quantizer, "_CHILD", "crashing_child")
    jobs = [Job(name) for name in ("dynamic-int8", "float16", "weight-int8", "weight-int4")]
    outcomes = quantize(models["two"].tflite, jobs, None)
    assert [one.tflite is None for one in outcomes] == [False, True, False, True]
    assert outcomes[1].error == outcomes[3].error == "quantizing: the process was ended by SIGSEGV"


def test_a_model_without_anything_to_quantize_is_told(models: dict[str, Quantizable]) -> None:
    rules = (parse_rule("FULLY_CONNECTED=float32"), parse_rule("CONV_2D=float32"))
    (one,) = quantize(models["digits"].tflite, [Job("weight-int8", rules)], None)
    assert one.error.startswith("weight-int8 has nothing for any of its operators (CONV_2D, MAX_POOL_2D")


def _difference_bytes(old: bytes | None, new: bytes | None) -> int:
    assert old is not None
    assert new is not None
    codes = np.frombuffer(new, np.uint8) - np.frombuffer(old, np.uint8)
    return len(lzma.compress(codes.tobytes(), preset=9 | lzma.PRESET_EXTREME))


def test_kept_ranges_make_the_update_of_a_retrained_head_small(
    models: dict[str, Quantizable],
    calibrations: dict[str, Calibration],
    made: dict[str, dict[str, Quantized]],
) -> None:
    old, retrained = made["digits"]["int8"].tflite, models["digits_head"]
    assert old is not None
    base, fresh = activation_ranges(old), calibrations["digits_head"].ranges
    assert len(kept(fresh, base)) >= 6
    (same,) = quantize(models["digits"].tflite, [Job("int8")], base)
    assert same.tflite == old
    (update,) = quantize(retrained.tflite, [Job("int8")], merged(fresh, base))
    assert _agreement(update.tflite, retrained) >= 0.97
    assert _difference_bytes(old, update.tflite) < _difference_bytes(old, made["digits_head"]["int8"].tflite)


def test_losses_by_layer_are_told_the_worst_first(
    models: dict[str, Quantizable], made: dict[str, dict[str, Quantized]]
) -> None:
    model = models["digits"]
    eight, four = made["digits"]["int8"].tflite, made["digits"]["weight-int4"].tflite
    assert eight is not None
    assert four is not None
    losses, more = (layer_losses(model.tflite, tflite, model.rows) for tflite in (eight, four))
    assert [loss.error for loss in losses] == sorted((loss.error for loss in losses), reverse=True)
    assert {"CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= {loss.operator for loss in losses}
    assert all(0 < loss.error < 0.05 for loss in losses)
    assert more[0].error > 3 * losses[0].error
    assert layer_losses(model.tflite, model.tflite, model.rows[:1]) == ()


def test_samples_that_do_not_fit_the_model_are_refused(models: dict[str, Quantizable]) -> None:
    with pytest.raises(ModelError, match="it has 2 inputs, samples are for 1"):
        calibrate(models["two"].tflite, models["two"].samples[:1])
