"""Which recipe each operator gets, on graphs drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from converter.graph import Call, Graph, Tensor, float_calls
from converter.planning import make_plan
from converter.recipes import RECIPES, Ranges, parse_rule
from wire.errors import ModelError

#: x → SUB offset → MUL factor → dense layer of 3 inputs → dense layer of 32 → SOFTMAX.
_RANGES: Ranges = {"x": (0.0, 1680.0), "scaled": (-3.0, 3.0), "h": (0.0, 5.0), "y": (0.0, 1.0)}


def _tensor(name: str, *shape: int, values: list[float] | None = None) -> Tensor:
    array = np.asarray(values, np.float32).reshape(shape) if values else None
    constant = values is not None or name.startswith("w")
    return Tensor(name, "float32", shape, constant, array)


def _graph(factor: list[float], *, mark: str = "") -> Graph:
    tensors = (
        _tensor("x", 1, 3),
        _tensor("offset", 1, 3, values=[750.0, 2.0, 1.0]),
        _tensor(f"{mark}centred", 1, 3),
        _tensor("factor", 1, 3, values=factor),
        _tensor("scaled", 1, 3),
        _tensor("w1", 32, 3),
        _tensor("net/first/Relu", 1, 32),
        _tensor("w2", 4, 32),
        _tensor("net/last/MatMul", 1, 4),
        _tensor("y", 1, 4),
    )
    calls = (
        Call("SUB", (0, 1), (2,)),
        Call("MUL", (2, 3), (4,)),
        Call("FULLY_CONNECTED", (4, 5, -1), (6,)),
        Call("FULLY_CONNECTED", (6, 7, -1), (8,)),
        Call("SOFTMAX", (8,), (9,)),
    )
    return Graph(tensors, calls, (0,), (9,))


WINE = _graph([1 / 315, 1 / 0.8, 1 / 0.12])
EVEN = _graph([1 / 280, 1 / 290, 1 / 300])


def test_a_scaler_of_uneven_columns_stays_float_and_so_does_the_input() -> None:
    plan = make_plan([WINE], RECIPES["int8"], (), _RANGES)
    assert plan.calls == (("float32", "float32", "int8", "int8", "int8"),)
    assert (plan.float_inputs, plan.float_outputs) == (True, False)
    assert plan.notes == ("the scaler in front (SUB, MUL) stays float32, and so does the input",)


def test_a_scaler_of_even_columns_costs_nothing_and_becomes_codes() -> None:
    assert float_calls(EVEN, _RANGES) == frozenset()
    assert make_plan([EVEN], RECIPES["int8"], (), _RANGES).float_inputs is False


def test_a_marked_scaler_stays_float_whatever_it_does() -> None:
    marked = _graph([1 / 280, 1 / 290, 1 / 300], mark="edgeflock_scaler/")
    assert float_calls(marked, _RANGES) == {0}


def test_a_scaler_is_none_of_a_float_recipes_business() -> None:
    assert set(make_plan([WINE], RECIPES["weight-int8"], (), None).calls[0]) == {"weight-int8"}


def test_the_last_rule_that_matches_counts_and_the_scaler_stays() -> None:
    rules = [parse_rule(text) for text in ("SUB=int8", "net/.*=weight-int8", "last=float16")]
    plan = make_plan([WINE], RECIPES["int8"], rules, _RANGES)
    assert plan.calls == (("float32", "float32", "weight-int8", "float16", "int8"),)


def test_ends_that_only_float_operators_touch_stay_float() -> None:
    rules = [parse_rule("SOFTMAX=float32"), parse_rule("SUB=float32")]
    plan = make_plan([EVEN], RECIPES["int8"], rules, _RANGES)
    assert (plan.float_inputs, plan.float_outputs) == (True, True)


def test_a_rule_that_matches_nothing_is_told_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"dense=float32 matches nothing: .* SUB, MUL, .*net/first/Relu"):
        make_plan([WINE], RECIPES["int8"], [parse_rule("dense=float32")], _RANGES)


def test_static_recipes_ask_for_calibration_data() -> None:
    with pytest.raises(ModelError, match="int8 needs calibration data: give --data"):
        make_plan([WINE], RECIPES["int8"], (), None)


def test_layers_that_are_not_whole_blocks_get_the_other_recipe() -> None:
    plan = make_plan([WINE], RECIPES["weight-int4-block32"], (), None)
    assert plan.calls[0][2:4] == ("weight-int8", "weight-int4-block32")


def test_a_model_without_whole_blocks_is_refused_with_its_sizes() -> None:
    small = Graph(WINE.tensors, WINE.calls[:3], (0,), (6,))
    with pytest.raises(ModelError, match=r"multiple of 32 inputs \(their inputs: 3\): take weight-int4"):
        make_plan([small], RECIPES["weight-int4-block32"], (), None)


def test_loops_keep_float_activations() -> None:
    plan = make_plan([EVEN, EVEN], RECIPES["int8"], (), _RANGES)
    assert set(plan.calls[0]) == {"int8"}
    assert set(plan.calls[1]) == {"weight-int8"}
    assert plan.notes == ("loops compute in float32: their weights are int8",)


def test_what_is_quantized_already_is_not_quantized_again() -> None:
    codes = Tensor("w1", "int8", (32, 3), True, scales=(0.1,), zero_points=(0,))
    done = Graph((*WINE.tensors[:5], codes, *WINE.tensors[6:]), WINE.calls, (0,), (9,))
    with pytest.raises(ModelError, match="quantized already"):
        make_plan([done], RECIPES["float16"], (), None)
