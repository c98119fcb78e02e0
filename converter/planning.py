"""Which recipe each operator of a model is made by. Pure.

Rules, the later the stronger: the job's recipe; where an operator cannot have it, the recipe's
`otherwise`; the user's exceptions, in their order; and what has to stay float32 (converter/graph.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from converter.graph import Call, Graph, float_calls, short
from converter.recipes import RECIPES, Ranges, Recipe, Rule
from wire.errors import ModelError


@dataclass(frozen=True)
class Plan:
    """For each graph of a model the names of its operators' recipes, and whether its ends stay float32."""

    recipe: Recipe
    calls: tuple[tuple[str, ...], ...]
    float_inputs: bool
    float_outputs: bool
    notes: tuple[str, ...] = ()


def make_plan(graphs: Sequence[Graph], recipe: Recipe, rules: Sequence[Rule], ranges: Ranges | None) -> Plan:
    """Return the plan of one job; raise ModelError when it cannot be followed.

    Loops are not seen by a calibration: in a recipe that needs one, their weights become int8 and
    the rest of them stays float32.
    """
    used = [recipe, *(RECIPES[rule.recipe] for rule in rules)]
    static = any(one.calibrates for one in used)
    if static and ranges is None:
        raise ModelError(f"{recipe.name} needs calibration data: give --data, or --recipe weight-int8")
    if any(tensor.quantized for graph in graphs for tensor in graph.tensors):
        raise ModelError("it is quantized already: --recipe float32 takes it as it is")
    check_rules(graphs, rules)
    if recipe.block:
        _check_blocks(graphs, recipe)
    kept = float_calls(graphs[0], ranges or {}) if static else frozenset()
    calls = []
    for number, graph in enumerate(graphs):
        stays = kept if number == 0 else frozenset()
        calls.append(tuple(_recipes(graph, recipe, rules, stays, inside_loop=number > 0)))
    return Plan(
        recipe,
        tuple(calls),
        float_inputs=recipe.float_io or _ends_float(graphs[0], calls[0], graphs[0].inputs),
        float_outputs=recipe.float_io or _starts_float(graphs[0], calls[0], graphs[0].outputs),
        notes=_notes(graphs, calls, kept, static=static),
    )


def matches(rule: Rule, graph: Graph, call: Call) -> bool:
    """Tell whether the rule is about an operator: by its name, or by that of a layer that it is of."""
    return rule.pattern == call.operator or any(
        re.search(rule.pattern, name) for name in graph.own_names(call)
    )


def _recipes(
    graph: Graph, recipe: Recipe, rules: Sequence[Rule], kept: frozenset[int], *, inside_loop: bool
) -> Iterable[str]:
    for number, call in enumerate(graph.calls):
        wanted = recipe.name
        for rule in rules:
            if matches(rule, graph, call):
                wanted = rule.recipe
        if number in kept:
            wanted = "float32"
        elif inside_loop and RECIPES[wanted].calibrates:
            wanted = "weight-int8"
        yield wanted if _can(RECIPES[wanted], graph, call) else RECIPES[wanted].otherwise


def _can(recipe: Recipe, graph: Graph, call: Call) -> bool:
    if recipe.operators and call.operator not in recipe.operators:
        return False
    return not recipe.block or _inputs(graph, call) % recipe.block == 0


def _inputs(graph: Graph, call: Call) -> int:
    """Return the inputs of each channel of a layer: what its blocks are made of."""
    return graph.taken(call)[1].shape[-1]


def check_rules(graphs: Sequence[Graph], rules: Sequence[Rule]) -> None:
    """Raise ModelError for a rule that matches no operator; the line lists some that there are."""
    every = [(graph, call) for graph in graphs for call in graph.calls]
    for rule in rules:
        if not any(matches(rule, graph, call) for graph, call in every):
            operators = ", ".join(dict.fromkeys(call.operator for _, call in every))
            layers = [short(name) for graph, call in every for name in graph.own_names(call)[:1]]
            some = ", ".join(layers[:3] if len(layers) < 6 else layers[:: max(1, len(layers) // 4)][:4])
            raise ModelError(
                f"exception {rule.pattern}={rule.recipe} matches nothing: "
                f"the operators are {operators}; some layers are {some}"
            )


def _check_blocks(graphs: Sequence[Graph], recipe: Recipe) -> None:
    dense = [(graph, call) for graph in graphs for call in graph.calls if call.operator in recipe.operators]
    if not any(_can(recipe, graph, call) for graph, call in dense):
        found = ", ".join(str(_inputs(graph, call)) for graph, call in dense[:8]) or "none"
        raise ModelError(
            f"{recipe.name} needs a dense layer with a multiple of {recipe.block} inputs "
            f"(their inputs: {found}): take weight-int4"
        )


def _ends_float(graph: Graph, recipes: Sequence[str], positions: Iterable[int]) -> bool:
    """Tell whether only float32 operators take some float32 input: its codes would bring nothing but loss."""
    for position in positions:
        users = [recipes[number] for number, _ in graph.users(position)]
        if graph.tensors[position].dtype == "float32" and users and not any(map(_is_static, users)):
            return True
    return False


def _starts_float(graph: Graph, recipes: Sequence[str], positions: Sequence[int]) -> bool:
    makers = [recipes[number] for number, call in enumerate(graph.calls) if set(call.gives) & set(positions)]
    return not all(map(_is_static, makers))


def _is_static(recipe: str) -> bool:
    return RECIPES[recipe].calibrates


def _notes(
    graphs: Sequence[Graph], calls: Sequence[Sequence[str]], kept: frozenset[int], *, static: bool
) -> tuple[str, ...]:
    notes = []
    if kept:
        names = ", ".join(graphs[0].calls[number].operator for number in sorted(kept))
        notes.append(f"the scaler in front ({names}) stays float32, and so does the input")
    if static and len(calls) > 1:
        notes.append("loops compute in float32: their weights are int8")
    return tuple(notes)
